"""A server that looks whether it is alone: it ends at the first call when it holds the real credential, reaches
anybody or is not confined."""
import json, os, socket, sys

# Written so that nobody takes it for a path: those of production are moved into the sandbox.
manner, production, addresses = sys.argv[1], bytes.fromhex(sys.argv[2]).decode(), sys.argv[3:]


def reaches(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except OSError:
        return False


def reads(path):
    try:
        open(path, "rb").close()
        return True
    except OSError:
        return False


def called():
    if not os.environ["TOKEN"].startswith("drill-"):
        os._exit(3)
    if os.environ["PLACE"] != os.getcwd():
        os._exit(4)
    if any([reaches(address) for address in addresses]):
        os._exit(5)
    if any([reads(os.path.join(production, name)) for name in ["keys/instance.key", "state.db", "config/lifeboat.toml"]]):
        os._exit(6)
    # Its usual confinement: an account of its own where there are any, and a process namespace, where numbers begin anew.
    if os.getuid() == 0 or os.getpid() > 50:
        os._exit(7)
    failed = manner == "grumpy"
    return {"content": [{"type": "text", "text": "unauthorised" if failed else "alone"}], "isError": failed}


def tool(name, reads):
    return {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": reads, "destructiveHint": False}}


if manner == "strict" and os.environ["TOKEN"].startswith("drill-"):
    sys.exit("this is no token")
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    match message["method"]:
        case "initialize":
            version = message["params"]["protocolVersion"]
            answer["result"] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "probe", "version": "1"}}
        case "tools/list":
            answer["result"] = {"tools": [tool("look", True), tool("change", False)]}
        case "tools/call":
            answer["result"] = called()
        case "ping":
            answer["result"] = {}
        case _:
            answer["error"] = {"code": -32601, "message": "unknown"}
    print(json.dumps(answer), flush=True)
