"""PyPI `fastmcp`: `create_proxy` behind uvicorn with TLS, no checks."""

import os

from peers import HERE, venv
from programs import PROXY_CPU, Program, free_port
from subjects import Subject


def start(bench, lifeboat):
    python, port = os.path.join(venv(bench, "fastmcp", "fastmcp"), "python"), free_port()
    argv = [python, os.path.join(HERE, "fastmcp_serve.py"), f"http://127.0.0.1:{bench.upstream.port}/mcp", port, lifeboat.cert, lifeboat.cert_key]
    program = Program(argv, PROXY_CPU, os.path.join(bench.scratch, "fastmcp.log"))
    subject = Subject("fastmcp", program, port, {"json": "/mcp"}, lifeboat.ca)
    subject.modern = False
    return subject
