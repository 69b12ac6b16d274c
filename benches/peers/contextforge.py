"""PyPI `mcp-contextforge-gateway`: plain HTTP, a bearer token for each call, the upstream registered as one of its gateways. It starts only with
secrets of its own, which are made here for each run and go nowhere."""

import http.client
import json
import os
import secrets
import shutil

from peers import venv
from programs import PROXY_CPU, Failed, Program, free_port, wait_for
from subjects import Subject

WHO = "bench@example.org"


def start(bench, _lifeboat):
    folder, port = venv(bench, "contextforge", "mcp-contextforge-gateway"), free_port()
    home = os.path.join(bench.scratch, "contextforge")
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home, mode=0o700)
    password = secrets.token_urlsafe(24) + "aA1!"
    env = {
        "DATABASE_URL": f"sqlite:///{home}/state.db", "JWT_SECRET_KEY": secrets.token_urlsafe(48), "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "BASIC_AUTH_PASSWORD": password, "PLATFORM_ADMIN_EMAIL": WHO, "PLATFORM_ADMIN_PASSWORD": password, "LOG_LEVEL": "ERROR",
        "SSRF_PROTECTION_ENABLED": "false", "MCPGATEWAY_UI_ENABLED": "false", "MCPGATEWAY_ADMIN_API_ENABLED": "false",
        "PLUGINS_ENABLED": "false", "OBSERVABILITY_ENABLED": "false",
    }
    argv = [os.path.join(folder, "mcpgateway"), "--host", "127.0.0.1", "--port", port]
    program = Program(argv, PROXY_CPU, os.path.join(bench.scratch, "contextforge.log"), env=env, cwd=home)
    try:
        wait_for("contextforge", lambda: _ask(port, "GET", "/health")[0] == 200, program, 120)
        token = _done(_ask(port, "POST", "/auth/login", {"email": WHO, "password": password}))["access_token"]
        upstream = {"name": "bench", "url": f"http://127.0.0.1:{bench.upstream.port}/mcp", "transport": "STREAMABLEHTTP"}
        _done(_ask(port, "POST", "/gateways", upstream, token))
    except (Failed, OSError):
        program.stop()
        raise
    subject = Subject("contextforge", program, port, {"json": "/mcp"}, headers={"authorization": f"Bearer {token}"})
    subject.tls = subject.modern = False
    subject.prefix = "bench-"
    return subject


def _ask(port, method, path, body=None, token=None):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    link.request(method, path, json.dumps(body) if body else None, headers)
    answer = link.getresponse()
    found = answer.status, answer.read()
    link.close()
    return found


def _done(found):
    status, body = found
    if status >= 300:
        raise Failed(f"contextforge: HTTP {status}: {body[:200]!r}")
    return json.loads(body)
