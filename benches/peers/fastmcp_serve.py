"""Runs in the environment of the peer: `fastmcp.server.create_proxy` over HTTPS. Arguments: upstream URL, port, certificate, key."""

import sys

from fastmcp.server import create_proxy

url, port, cert, key = sys.argv[1:]
create_proxy(url, name="bench").run(
    transport="http", host="127.0.0.1", port=int(port), path="/mcp", stateless_http=True, json_response=True, show_banner=False,
    uvicorn_config={"ssl_certfile": cert, "ssl_keyfile": key, "log_level": "error"})
