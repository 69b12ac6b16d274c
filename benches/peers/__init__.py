"""Other MCP proxies, measured by the same calls. Each file installs one under target/bench and starts it; what cannot be installed is told
and left out. Never changes anything outside target/."""

import importlib
import os
import subprocess

from programs import Failed

NAMES = ("contextforge", "fastmcp_proxy", "mcp_proxy_py", "mcp_proxy_npm", "mcp_proxy_crate")
HERE = os.path.dirname(os.path.abspath(__file__))


def each():
    """(name, module) of every peer."""
    return [(name, importlib.import_module(f"peers.{name}")) for name in NAMES]


def shell(argv, log, **options):
    """Runs an installer; its last words when it fails."""
    with open(log, "ab") as file:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, **options)
    if done.returncode != 0:
        with open(log, errors="replace") as file:
            raise Failed(f"{' '.join(argv[:4])}…: exit {done.returncode}: {' '.join(file.readlines()[-3:])}")


def venv(bench, name, *packages):
    """A Python environment with packages of PyPI; the folder of its programs."""
    home = os.path.join(bench.scratch, f"venv-{name}")
    done = os.path.join(home, "installed")
    if not os.path.exists(done):
        log = os.path.join(bench.scratch, f"install-{name}.log")
        shell(["python3", "-m", "venv", home], log)
        shell([os.path.join(home, "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *packages], log)
        open(done, "w").close()
    return os.path.join(home, "bin")
