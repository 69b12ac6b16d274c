"""The cells of the table, and how one of them is measured. Never keeps a number whose calls were not all answered and counted."""

import dataclasses

import calls
import load
import machine
from programs import Failed

SIZES = {"0.2": 200, "10": 10_000, "200": 200_000}
FOREIGN = 0.1


@dataclasses.dataclass(frozen=True)
class Cell:
    """One measurement: what is called, how large, how many at once; with a rate, at that rate whatever comes back."""

    kb: str
    form: str
    tool: str
    connections: int
    rate: int = 0

    @property
    def size(self):
        return SIZES[self.kb]

    @property
    def name(self):
        pace = f"{self.rate}/s" if self.rate else "full"
        return f"{self.kb} KB {self.form} {'write' if self.tool == 'write_note' else 'read'} c={self.connections} {pace}"


CORE = [
    *(Cell(kb, "json", "echo", 16) for kb in SIZES),
    *(Cell(kb, "sse", "echo", 16) for kb in SIZES),
    *(Cell(kb, "json", "echo", 1) for kb in SIZES),
    Cell("0.2", "json", "write_note", 16),
    Cell("0.2", "json", "echo", 1, rate=500),
    Cell("0.2", "json", "echo", 16, rate=1000),
    Cell("10", "json", "echo", 16, rate=1000),
    Cell("0.2", "json", "write_note", 16, rate=200),
]
PEERS = [Cell("0.2", "json", "echo", 16), Cell("10", "json", "echo", 16), Cell("200", "json", "echo", 1), Cell("0.2", "json", "echo", 1)]
QUICK = [Cell("0.2", "json", "echo", 16), Cell("10", "json", "echo", 16), Cell("200", "json", "echo", 16)]


def measure(subject, cell, bench, seconds):
    """One run: the echo before, the count after. Gives what belongs into the results; raises when anything was lost."""
    fault = calls.echo(subject, cell.form, cell.tool, cell.size)
    if fault:
        raise Failed(f"{subject.name}: {cell.name}: the answer is not the echo: {fault}")
    _run(subject, cell, bench, 1 if seconds > 1 else 0.3)
    machine.settle(subject.sid)
    before, cpu = bench.upstream.calls(), machine.cpu_seconds(subject.sid)
    foreign = machine.Foreign([subject.sid, bench.upstream.program.sid])
    found = _run(subject, cell, bench, seconds)
    busy = machine.cpu_seconds(subject.sid) - cpu
    share = foreign.share()
    machine.settle(subject.sid)
    spent = machine.cpu_seconds(subject.sid) - cpu
    seen, done = bench.upstream.calls() - before, found["requests"]
    fits = not subject.counted or done <= seen <= done + cell.connections
    if found["non2xx"] or found["broken"] or not done or not fits:
        raise Failed(f"{subject.name}: {cell.name}: {found}, and the upstream saw {seen}")
    line = {"cpu_us": round(spent / done * 1e6, 2), "during_us": round(busy / done * 1e6, 2), "foreign": share,
            "rss_pss_mib": machine.memory_mib(subject.sid), **{name: found[name] for name in ("requests", "p50_us", "p99_us", "max_us")}}
    if "us" in found:
        line["per_second"] = round(done / found["us"] * 1e6)
    return line


def _run(subject, cell, bench, seconds):
    if cell.rate:
        whole = max(1, round(seconds))
        return load.finish_pulse(load.start_pulse(subject, cell, whole, bench.scratch, bench.pulse), whole + 30)
    return load.finish_wrk(load.start_wrk(subject, cell, max(1, round(seconds)), bench.scratch), seconds + 60)

