"""A server on PyPI `mcp` that checks the Host and Origin it is called by: strict_server.py PORT. Both eras over HTTP."""

import sys

from mcp.server import MCPServer

server = MCPServer("strict")


@server.tool()
def hail(name: str) -> str:
    """Hails somebody."""
    return f"ahoy {name}"


server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
