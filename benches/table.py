"""Turns the lines of one run into a text that a person reads: medians per subject, ratios pair by pair. Never drops a flagged cell in silence."""

import statistics

from cells import FOREIGN

COLUMNS = (("cpu_us", "CPU us/call"), ("per_second", "calls/s"), ("p50_us", "p50 us"), ("p99_us", "p99 us"))


def _rounds(lines, subject, cell):
    return {line["round"]: line for line in lines if line.get("cell") == cell and line.get("subject") == subject and "cpu_us" in line}


def _median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def _text(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def pairs(lines, subject, other, cell, field="cpu_us"):
    """Ratio of two subjects in each round that has both."""
    ours, theirs = _rounds(lines, subject, cell), _rounds(lines, other, cell)
    return [ours[n][field] / theirs[n][field] for n in sorted(ours.keys() & theirs.keys()) if theirs[n].get(field)]


def render(lines):
    """Markdown."""
    head = next(line for line in lines if line.get("what") == "machine")
    out = [f"Run {head['run']} on {head['cpu']} ({head['cpus']} CPUs, {head['memory_gib']} GiB, Linux {head['kernel']}), {head['date']}.",
           "Versions: " + "; ".join(f"{name} {text}" for name, text in head["versions"].items()) + ".", "",
           "| cell | subject | " + " | ".join(title for _, title in COLUMNS) + " | CPU / nginx | added p50 us | added p99 us | foreign |",
           "|---|---|" + "---:|" * (len(COLUMNS) + 4)]
    cells = list(dict.fromkeys(line["cell"] for line in lines if "cell" in line))
    subjects = list(dict.fromkeys(line["subject"] for line in lines if "subject" in line))
    for cell in cells:
        floor = _rounds(lines, "direct", cell)
        for subject in subjects:
            rounds = _rounds(lines, subject, cell)
            if rounds:
                out.append(_row(lines, cell, subject, rounds, floor))
    out += ["", f"`*`: others had more than {FOREIGN} of a CPU in at least one round of the cell. Medians of the rounds; ratios pair by pair.", ""]
    out += [f"Lost: {line['subject']}: {line['cell']}: {line['lost'].splitlines()[0]}" for line in lines if "lost" in line]
    out += [f"Memory, {line['memory']}: {line['found']}" for line in lines if "memory" in line]
    out += [f"Not taken: {line['absent']}: {line['why'].splitlines()[0]}" for line in lines if "absent" in line]
    return "\n".join(out) + "\n"


def _row(lines, cell, subject, rounds, floor):
    values = [_text(_median(line.get(field) for line in rounds.values())) for field, _ in COLUMNS]
    ratios = pairs(lines, subject, "nginx", cell)
    ratio = f"{_median(ratios):.2f}" if ratios and subject != "direct" else "-"
    added = []
    for field in ("p50_us", "p99_us"):
        both = rounds.keys() & floor.keys()
        gap = _median(rounds[n][field] - floor[n][field] for n in both) if subject != "direct" else None
        added.append("-" if gap is None else f"{gap:.0f}")
    if subject == "direct":
        # Its CPU is the upstream's own.
        values[0] = f"({values[0]})"
    foreign = max(line["foreign"] for line in rounds.values())
    mark = "*" if foreign > FOREIGN else ""
    return f"| {cell} | {subject} | {' | '.join(values)} | {ratio} | {' | '.join(added)} | {foreign}{mark} |"
