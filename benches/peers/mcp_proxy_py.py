"""PyPI `mcp-proxy`: plain HTTP before a stdio server, no checks. The child's CPU time counts with it."""

import os

from peers import HERE, venv
from programs import PROXY_CPU, Program, free_port
from subjects import Subject


def start(bench, _lifeboat):
    folder, port = venv(bench, "mcp-proxy", "mcp-proxy"), free_port()
    argv = [os.path.join(folder, "mcp-proxy"), "--port", port, "--stateless", "--", "python3", os.path.join(HERE, "echo_stdio.py")]
    program = Program(argv, PROXY_CPU, os.path.join(bench.scratch, "mcp-proxy-py.log"))
    subject = Subject("mcp-proxy (PyPI)", program, port, {"json": "/mcp"})
    subject.tls = subject.modern = subject.counted = False
    return subject
