"""The memory of Lifeboat: idle, under the largest load, and after many abandoned sessions. Never a guess: resident and proportional size
of its whole session, as the kernel counts them."""

import json
import time

import load
import machine
from cells import Cell
from programs import output

SESSIONS = 100_000
FIRST = 1_000
TTL = 5


def idle(lifeboat):
    machine.settle(lifeboat.program.sid)
    return machine.memory_mib(lifeboat.program.sid)


def under_load(subject, bench, seconds):
    """The peak while 64 connections send and receive 200 KB."""
    cell, peak = Cell("200", "json", "echo", 64), (0.0, 0.0)
    running = load.start_wrk(subject, cell, seconds, bench.scratch)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        peak = max(peak, machine.memory_mib(subject.sid))
        time.sleep(0.2)
    found = load.finish_wrk(running, 60)
    machine.settle(subject.sid)
    return {"peak": peak, "after": machine.memory_mib(subject.sid), "requests": found["requests"], "non2xx": found["non2xx"]}


def abandoned(subject, bench, sessions=SESSIONS):
    """After 1,000 calls, and after `sessions` sessions that nobody ended, once their time is over."""
    load.finish_pulse(load.start_pulse(subject, Cell("0.2", "json", "echo", 16, rate=FIRST), 1, bench.scratch, bench.pulse), 30)
    machine.settle(subject.sid)
    before = machine.memory_mib(subject.sid)
    argv = [bench.pulse, "--initialize", sessions, "--clients", subject.key_file, "--connections", 16, "--ca", subject.ca,
            "--url", f"https://127.0.0.1:{subject.port}{subject.paths['json']}"]
    told = json.loads(output(["taskset", "-c", "0", *argv]))
    peak = machine.memory_mib(subject.sid)
    # Sessions end after their time, a few thousand in each second's sweep.
    time.sleep(TTL + 2 + sessions / 4_096)
    machine.settle(subject.sid)
    after = machine.memory_mib(subject.sid)
    return {"sessions": told["answers"], "after_1000_calls": before, "peak": peak, "after": after,
            "ratio": round(after[1] / before[1], 3)}
