"""npm `mcp-proxy`: plain HTTP with an API key before a stdio server. The child's CPU time counts with it."""

import os

from peers import HERE, shell
from programs import PROXY_CPU, Program, free_port
from subjects import Subject


def start(bench, _lifeboat):
    home, port = os.path.join(bench.scratch, "node"), free_port()
    entry = os.path.join(home, "node_modules/.bin/mcp-proxy")
    if not os.path.exists(entry):
        os.makedirs(home, exist_ok=True)
        log = os.path.join(bench.scratch, "install-npm.log")
        shell(["npm", "install", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "mcp-proxy"], log)
    argv = [entry, "--host", "127.0.0.1", "--port", port, "--server", "stream", "--stateless", "--no-eventStore", "--apiKey", "bench",
            "--", "python3", os.path.join(HERE, "echo_stdio.py")]
    program = Program(argv, PROXY_CPU, os.path.join(bench.scratch, "mcp-proxy-npm.log"))
    subject = Subject("mcp-proxy (npm)", program, port, {"json": "/mcp"}, headers={"x-api-key": "bench"})
    subject.tls = subject.modern = subject.counted = False
    return subject
