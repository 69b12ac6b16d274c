"""The two kinds of load: wrk, which sends as fast as it is answered, and our own, which sends at a fixed rate."""

import json
import os
import random
import tempfile

import calls
from programs import LOAD_CPU, Failed, Program

HERE = os.path.dirname(os.path.abspath(__file__))
MARKER = "@@@@@@@@@"


def _script(subject, cell):
    """The file that the Lua script reads, 0600: it holds a key."""
    headers = calls.headers_of(subject, cell.tool)
    body = calls.message(0, subject.prefix + cell.tool, calls.text_of(cell.size), subject.modern).replace('"id":0', f'"id":{MARKER}', 1)
    lines = [subject.paths[cell.form], *(f"{name}: {value}" for name, value in headers.items()), "", body]
    handle, path = tempfile.mkstemp(prefix="bench-")
    with os.fdopen(handle, "w") as file:
        file.write("\n".join(lines))
    return path


def start_wrk(subject, cell, seconds, scratch):
    """wrk at work; `finish_wrk` waits for it."""
    scheme = "https" if subject.tls else "http"
    script, out = _script(subject, cell), os.path.join(scratch, "wrk.out")
    open(out, "w").close()
    argv = ["wrk", "-t1", f"-c{cell.connections}", f"-d{round(seconds)}s", "--latency", "--timeout", "30s", "-s", f"{HERE}/call.lua",
            f"{scheme}://127.0.0.1:{subject.port}"]
    env = {"BENCH_FILE": script, "BENCH_FIRST_ID": str(random.randrange(400_000_000))}
    return Program(argv, LOAD_CPU, out, env), script, out


def finish_wrk(running, patience):
    program, script, out = running
    try:
        program.process.wait(patience)
    finally:
        program.stop()
        os.unlink(script)
    with open(out, errors="replace") as file:
        text = file.read()
    line = next((line for line in text.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise Failed(f"wrk: {text[-400:]}")
    return json.loads(line[6:])


def start_pulse(subject, cell, seconds, scratch, binary):
    """Our own load at the cell's fixed rate."""
    out = os.path.join(scratch, "pulse.out")
    open(out, "w").close()
    argv = [binary, "--pulse", "--url", f"https://127.0.0.1:{subject.port}{subject.paths[cell.form]}", "--ca", subject.ca,
            "--key-file", subject.key_file, "--rate", cell.rate, "--seconds", seconds, "--connections", cell.connections,
            "--tool", cell.tool, "--bytes", cell.size]
    return Program(argv, LOAD_CPU, out), None, out


def finish_pulse(running, patience):
    program, _, out = running
    try:
        program.process.wait(patience)
    finally:
        program.stop()
    with open(out, errors="replace") as file:
        text = file.read().strip()
    try:
        found = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        raise Failed(f"load: {text[-400:]}") from None
    return {**found, "requests": found["ok"], "non2xx": found["due"] - found["ok"], "broken": 0}
