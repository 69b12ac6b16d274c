"""crates.io `mcp-proxy`: plain HTTP, a bearer token, a rate limit and its audit log before an HTTP server."""

import os

from peers import shell
from programs import PROXY_CPU, Program, free_port
from subjects import Subject

CONFIG = """[proxy]
name = "bench"
version = "1.0.0"
separator = "/"

[proxy.listen]
host = "127.0.0.1"
port = {port}

[auth]
type = "bearer"
tokens = ["bench"]

[observability]
audit = true

[[backends]]
name = "up"
transport = "http"
url = "http://127.0.0.1:{upstream}/mcp"

[backends.rate_limit]
requests = 1000000
period_seconds = 1
"""


def start(bench, _lifeboat):
    home, port = os.path.join(bench.scratch, "crate"), free_port()
    binary = os.path.join(home, "bin/mcp-proxy")
    if not os.path.exists(binary):
        target = os.path.join(bench.scratch, "crate-target")
        shell(["cargo", "install", "--quiet", "--locked", "--root", home, "--target-dir", target, "mcp-proxy"],
              os.path.join(bench.scratch, "install-crate.log"))
    config = os.path.join(home, "config.toml")
    with open(config, "w") as file:
        file.write(CONFIG.format(port=port, upstream=bench.upstream.port))
    program = Program([binary, "--config", config], PROXY_CPU, os.path.join(bench.scratch, "mcp-proxy-crate.log"))
    subject = Subject("mcp-proxy (crate)", program, port, {"json": "/"}, headers={"authorization": "Bearer bench"})
    subject.tls = subject.modern = False
    subject.prefix = "up/"
    return subject
