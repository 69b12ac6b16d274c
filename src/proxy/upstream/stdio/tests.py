"""A stdio server for the tests: well-behaved or not, by its first argument and by the tool that is called."""
import json, os, signal, sys, threading, time

MODE, LIVES = sys.argv[1], sys.argv[2]
lock = threading.Lock()
cancelled = {}
answers = {}
counted = 0


def say(text):
    with lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def send(**members):
    say(json.dumps({"jsonrpc": "2.0", **members}))


def progress(token, message):
    send(method="notifications/progress", params={"progressToken": token, "progress": 1, "message": message})


def slow(i, who, token):
    progress(token, who)
    for _ in range(30):
        time.sleep(0.05)
        if i in cancelled:
            return send(id=i, error={"code": 0, "message": "cancelled: " + cancelled[i]})
    send(id=i, result={"who": who})


def noise(i, token):
    send(method="notifications/progress", params={"progressToken": "t", "progress": 1})
    send(method="notifications/progress", params={"progressToken": token + 1000, "progress": 1})
    send(method="notifications/tools/list_changed")
    send(id=i + 1000, result={})
    send(id=None, error={"code": 1, "message": "x"})
    say("no message at all")
    say("")
    send(id="p", method="ping")
    send(id="q", method="sampling/createMessage", params={})
    while len(answers) < 2:
        time.sleep(0.01)
    send(id=i, result={"ping": answers["p"]["result"], "sampling": answers["q"]["error"]["code"]})


def call(i, params, line):
    global counted
    name, who = params["name"], params.get("arguments", {}).get("who")
    token = params.get("_meta", {}).get("progressToken")
    if name == "echo":
        send(id=i, result={"who": who})
    elif name == "pid":
        send(id=i, result={"pid": os.getpid()})
    elif name == "count":
        counted += 1
        send(id=i, result={"count": counted})
    elif name == "raw":
        say('{"x": 1.0e2, "id":%d, "jsonrpc":"2.0", "result": {"line": %s}}' % (i, json.dumps(line)))
    elif name == "slow":
        threading.Thread(target=slow, args=(i, who, token), daemon=True).start()
    elif name == "noise":
        threading.Thread(target=noise, args=(i, token), daemon=True).start()
    elif name == "deaf":
        progress(token, "never")
    elif name == "sleep":
        progress(token, "asleep")
        time.sleep(1)
        send(id=i, result={})
    elif name == "die":
        os._exit(9)
    elif name == "huge":
        say("x" * (9 << 20))


def remember(first):
    with open(LIVES, "a") as file:
        file.write(first + "\n")


if MODE == "never":
    print("no database", file=sys.stderr)
    sys.exit(3)
if MODE == "ignores-the-end":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
era = None
while True:
    line = sys.stdin.readline()
    if not line:
        if MODE == "ignores-the-end":
            time.sleep(60)
        break
    message = json.loads(line)
    method, i, params = message.get("method"), message.get("id"), message.get("params", {})
    if era is None:
        remember(method)
        era = "modern" if method == "server/discover" else "legacy"
    if method is None:
        answers[i] = message
    elif MODE == "keeps-one-era" and method == "initialize" and era == "modern":
        send(id=i, error={"code": -32022, "message": "the initialize handshake is not accepted"})
    elif MODE == "modern-only" and method == "initialize":
        send(id=i, error={"code": -32601, "message": "no"})
    elif method == "server/discover":
        if MODE == "dies-of-discover":
            sys.exit(4)
        if MODE in ("both", "modern-only") or (MODE == "keeps-one-era" and era == "modern"):
            send(id=i, result={"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"})
    elif method == "initialize":
        say('{"jsonrpc":"2.0","id":%d,"result":{"protocolVersion": "2025-11-25","capabilities":{},"extra": 1.50}}' % i)
    elif method == "tools/list":
        send(id=i, result={"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call":
        call(i, params, line)
    elif method == "ping":
        send(id=i, result={})
    elif method == "notifications/cancelled":
        cancelled[params["requestId"]] = params.get("reason", "")
    elif i is not None:
        send(id=i, error={"code": -32601, "message": "no"})
