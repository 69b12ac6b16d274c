"""The standing benchmark: the same calls to the upstream, to nginx and to Lifeboat, in turns, on one machine. See docs/PERFORMANCE.md.
Never compares numbers of two runs."""

import argparse
import datetime
import json
import os
import sys

import calls
import cells
import machine
import memory
import peers
import programs
import subjects
import table
from programs import Failed

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Bench:
    """What the parts of one run share."""

    def __init__(self, options):
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        self.scratch = os.path.join(target, "bench")
        os.makedirs(self.scratch, mode=0o711, exist_ok=True)
        self.results = os.path.join(self.scratch, "results.jsonl")
        programs_in = os.path.join(target, options.profile)
        self.lifeboat_binary = options.lifeboat or os.path.join(programs_in, "lifeboat")
        peers = options.peers_dir or programs_in
        self.pulse, self.brisk = os.path.join(peers, "load"), os.path.join(peers, "brisk")
        for needed in (self.lifeboat_binary, self.pulse, self.brisk):
            if not os.path.exists(needed):
                raise Failed(f"{needed} is missing: benches/run builds it")
        self.run = self._last_run() if options.resume else datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        self.upstream = None

    def lines(self):
        """Everything that this run has found so far."""
        if not os.path.exists(self.results):
            return []
        with open(self.results) as file:
            return [line for line in map(json.loads, file) if line["run"] == self.run]

    def _last_run(self):
        with open(self.results) as file:
            return json.loads(file.readlines()[-1])["run"]

    def write(self, line):
        with open(self.results, "a") as file:
            file.write(json.dumps({"run": self.run, **line}) + "\n")

    def done(self, **wanted):
        return any(all(line.get(name) == value for name, value in wanted.items()) for line in self.lines())


def say(text):
    print(text, flush=True)


def heading(bench):
    versions = {"lifeboat": programs.version([bench.lifeboat_binary, "--version"]), "nginx": programs.version(["/usr/sbin/nginx", "-v"]),
                "wrk": (programs.version(["wrk", "-v"]) or "").split("[")[0].strip(), "rustc": programs.version(["rustc", "--version"]),
                "commit": programs.version(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"])}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    bench.write({"what": "machine", "date": today, "versions": versions, **machine.describe()})


def measure_all(bench, found, chosen, options):
    """Each cell: so many rounds, and in each round every subject, one after the other."""
    for cell in chosen:
        for number in range(options.rounds):
            for subject in found:
                if not (cell.rate and not subject.tls) and not bench.done(cell=cell.name, subject=subject.name, round=number):
                    measure_one(bench, subject, cell, number, options)


def measure_one(bench, subject, cell, number, options):
    place = {"cell": cell.name, "subject": subject.name, "round": number}
    for attempt in range(1 + options.again):
        try:
            line = cells.measure(subject, cell, bench, options.seconds)
        except Failed as fault:
            say(f"{cell.name:34} {subject.name:10} LOST: {fault}")
            bench.write({**place, "lost": str(fault)})
            return
        if line["foreign"] <= cells.FOREIGN:
            break
        say(f"{cell.name:34} {subject.name:10} others had {line['foreign']} CPU: " + ("again" if attempt < options.again else "kept, flagged"))
    bench.write({**place, **line})
    say(f"{cell.name:34} {subject.name:10} {line['cpu_us']:9.1f} us CPU  {line.get('per_second', cell.rate):7} /s"
        f"  p50 {line['p50_us']:6} us  p99 {line['p99_us']:6} us  foreign {line['foreign']}")


def note_memory(bench, what, found):
    bench.write({"memory": what, "found": found})
    say(f"memory, {what}: {found}")


def measure_memory(bench, subject, options):
    if not bench.done(memory="64 x 200 KB"):
        note_memory(bench, "64 x 200 KB", memory.under_load(subject, bench, 2 if options.quick else 4))
    if options.quick or bench.done(memory="abandoned sessions"):
        return
    other = subjects.Lifeboat(bench.lifeboat_binary, bench.scratch, ttl=memory.TTL)
    try:
        note_memory(bench, "abandoned sessions", memory.abandoned(other.furnish(bench.upstream), bench))
    finally:
        other.stop()


def measure_peers(bench, lifeboat, options):
    """One peer after another, so that none of them idles beside the others."""
    for name, peer in peers.each():
        program = None
        try:
            subject = peer.start(bench, lifeboat)
            program = subject.program
            programs.wait_for(name, lambda: calls.begin(subject), program, 60)
            measure_all(bench, [subject], cells.PEERS, options)
        except (Failed, OSError) as fault:
            say(f"{name}: not taken: {fault}")
            bench.write({"absent": name, "why": str(fault)})
        finally:
            if program:
                program.stop()


def run(options):
    bench = Bench(options)
    if not bench.lines():
        heading(bench)
    running = []
    try:
        found = start(bench, options, running)
        if options.check:
            return check(bench, found)
        chosen = cells.QUICK if options.quick else cells.CORE
        measure_all(bench, found, [cell for cell in chosen if options.only in cell.name], options)
        if not options.only:
            measure_memory(bench, found[-1], options)
        if options.peers:
            measure_peers(bench, running[0], options)
    finally:
        for program in reversed(running):
            program.stop()
    text = table.render(bench.lines())
    with open(os.path.join(bench.scratch, f"{bench.run}.md"), "w") as file:
        file.write(text)
    say("\n" + text)
    return 0


def start(bench, options, running):
    """Starts everything that is measured; what idles costs nothing."""
    lifeboat = subjects.Lifeboat(bench.lifeboat_binary, bench.scratch)
    running.append(lifeboat)
    bench.upstream = subjects.Upstream(bench.brisk, bench.scratch, lifeboat.cert, lifeboat.cert_key)
    running.append(bench.upstream.program)
    ours = lifeboat.furnish(bench.upstream)
    if not bench.done(memory="idle"):
        note_memory(bench, "idle", memory.idle(lifeboat))
    found = [subjects.direct(bench.upstream, lifeboat.ca, lifeboat.key_file)]
    if not options.check:
        found.append(subjects.nginx(bench.scratch, lifeboat, ours, bench.upstream))
        running.append(found[-1].program)
    found.append(ours)
    return found


def check(bench, found):
    """Not a measurement: whether the parts still fit together."""
    faults = [f"{subject.name} {form}: {fault}" for subject in found for form in ("json", "sse") for tool in ("echo", "write_note")
              if (fault := calls.echo(subject, form, tool, 10_000))]
    told = cells._run(found[-1], cells.Cell("0.2", "json", "echo", 2, rate=100), bench, 1)
    say("\n".join(faults) or f"the benchmark's parts fit together: {told['ok']} calls answered")
    return 1 if faults or told["ok"] != 100 else 0


def main():
    parser = argparse.ArgumentParser(prog="benches/run", description="Measures Lifeboat beside nginx and no proxy at all.")
    parser.add_argument("--quick", action="store_true", help="three cells and no sessions: about a minute")
    parser.add_argument("--check", action="store_true", help="measures nothing: one call of each kind through every part")
    parser.add_argument("--peers", action="store_true", help="also other MCP proxies, where they can be installed")
    parser.add_argument("--resume", action="store_true", help="goes on with the last run")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cells whose name holds this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--again", type=int, default=2, help="how often a cell is taken again when others used the machine")
    parser.add_argument("--profile", default="release", help="folder under target/ that holds the programs")
    parser.add_argument("--lifeboat", metavar="FILE", help="another binary to measure")
    parser.add_argument("--peers-dir", metavar="DIR", help="another folder of the upstream and the load generator")
    try:
        return run(parser.parse_args())
    except Failed as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
