"""A stdio server that asks its client: for the tests of sessions with a child of their own. Holds no single quote."""
import json, os, sys, threading, time

# Each child counts its processes from one, so a number says nothing.
SELF = os.urandom(8).hex()

seen = {"capabilities": {}}
answers = {}


def send(**members):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **members}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def wait(key):
    while key not in answers:
        time.sleep(0.01)
    return answers[key]


def ask(i, token):
    if token is not None:
        send(method="notifications/progress", params={"progressToken": token, "progress": 1})
    send(method="notifications/message", params={"level": "info", "data": "asking"})
    send(id="q", method="elicitation/create", params={"message": "how many?"})
    send(id=i, result={"content": [], "answer": wait("q")})


def call(i, params):
    what = params.get("arguments", {}).get("do")
    if what == "who":
        send(id=i, result={"self": SELF, "capabilities": seen["capabilities"], "resultType": "complete"})
    elif what == "ask":
        ask(i, params.get("_meta", {}).get("progressToken"))
    elif what == "hang":
        send(method="notifications/progress", params={"progressToken": params["_meta"]["progressToken"], "progress": 1})
    elif what == "die":
        os._exit(3)


def roots():
    send(id="r", method="roots/list")
    send(method="notifications/message", params={"level": "info", "data": wait("r")})


for line in sys.stdin:
    message = json.loads(line)
    method, i, params = message.get("method"), message.get("id"), message.get("params", {})
    if method == "server/discover":
        send(id=i, result={"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"})
    elif method == "initialize":
        seen["capabilities"] = params["capabilities"]
        send(id=i, result={"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "own", "version": "1"}, "instructions": "x 1.50"})
    elif method == "notifications/initialized":
        if "roots" in seen["capabilities"]:
            threading.Thread(target=roots, daemon=True).start()
    elif method == "tools/call":
        threading.Thread(target=call, args=(i, params), daemon=True).start()
    elif method is None:
        answers[i] = message.get("result")
