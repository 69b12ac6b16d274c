"""Starts and ends the programs of a measurement, each in a session of its own and on its own CPU. Never ends what it did not start."""

import os
import signal
import socket
import subprocess
import time
import urllib.request

LOAD_CPU = "0"
PROXY_CPU = "1"


class Failed(Exception):
    """A program did not do what was needed; the text says which and how."""


class Program:
    """A running program; `sid` is its session."""

    def __init__(self, argv, cpu, log, env=None, cwd=None, out=None):
        self.log = log
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                ["taskset", "-c", cpu, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=out or file, stderr=file,
                env={**os.environ, **(env or {})}, cwd=cwd, start_new_session=True)
        self.sid = self.process.pid

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        """SIGTERM, then SIGKILL, to the session's own process group."""
        for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            if self.ended():
                return
            try:
                os.killpg(self.sid, number)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def tail(self):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-15:])


def wait_for(what, done, program=None, seconds=30):
    """Waits until `done` gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if program and program.ended():
            raise Failed(f"{what}: it ended\n{program.tail()}")
        try:
            if (value := done()):
                return value
        except OSError:
            pass
        time.sleep(0.02)
    raise Failed(f"{what}: not within {seconds} s" + (f"\n{program.tail()}" if program else ""))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def output(argv, **options):
    """What a command prints; its own words when it fails."""
    done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv[:4]))}…: exit {done.returncode}\n{done.stdout[-600:]}{done.stderr[-600:]}")
    return done.stdout


def version(argv):
    """The first line a program says of its version, or nothing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else None


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()
