"""What the kernel says of processes and of the machine: CPU time, memory, other people's work. Never measures by a wall clock alone."""

import os
import time

TICK = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or nothing when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def session_pids(sid):
    """Every process of a session. Field 3 behind the state is the session."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[3]) == sid]


def cpu_seconds(sid):
    """User and system time of a whole session, ended and reaped children included."""
    stats = (_stat(pid) for pid in session_pids(sid))
    return sum(sum(map(int, stat[11:15])) for stat in stats if stat) / TICK


def busy_seconds():
    """User, nice and system time of the whole machine."""
    with open("/proc/stat") as file:
        return sum(map(int, file.readline().split()[1:4])) / TICK


def stolen_seconds():
    """Time the hypervisor gave to others."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / TICK


def memory_mib(sid):
    """(resident, proportional) memory of a session in MiB."""
    rss = pss = 0
    for pid in session_pids(sid):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Rss:"):
                        rss += int(line.split()[1])
                    elif line.startswith("Pss:"):
                        pss += int(line.split()[1])
        except OSError:
            continue
    return round(rss / 1024, 1), round(pss / 1024, 1)


def settle(sid, patience=20.0):
    """Waits until a session has nothing to do any more, at most `patience` seconds."""
    end = time.monotonic() + patience
    before = cpu_seconds(sid)
    while time.monotonic() < end:
        time.sleep(0.25)
        now = cpu_seconds(sid)
        if now - before <= 1.5 / TICK:
            return
        before = now


class Foreign:
    """How much of the machine went to others while the given sessions and this harness worked."""

    def __init__(self, sids):
        self.sids = sids
        self.began = self._now()

    def _now(self):
        own = os.times()
        ours = sum(cpu_seconds(sid) for sid in self.sids) + own.user + own.system + own.children_user + own.children_system
        return time.monotonic(), busy_seconds() - ours, stolen_seconds()

    def share(self):
        """Mean number of CPUs that others had, steal included."""
        then, now = self.began, self._now()
        return round(max(0.0, (now[1] - then[1] + now[2] - then[2]) / (now[0] - then[0])), 2)


def describe():
    """Machine and kernel in a few words."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) // 1024 // 1024
    return {"cpu": models[0] if models else os.uname().machine, "cpus": os.cpu_count(), "memory_gib": total, "kernel": os.uname().release}
