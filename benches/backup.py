"""Backup and restore beside the pipeline of stock tools, restic and borg: the same data, one after the other, in one run. Prints medians and ratios.

    python3 -B benches/backup.py --lifeboat target/release/lifeboat [--load target/release/load] [--mib 1024] [--rounds 3]
With the load generator it also says what a backup costs the calls: write calls at a fixed rate without one and with one, by what a client waits.
Half of the data is text, half random. Each leg ends with its file on the disk. Needs age, zstd and tar; restic and borg are left out where they are
not installed.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

WORDS = "the tool reads writes and forgets what a client asked it to keep in memory until somebody stops everything at once".split()


def fill(folder, mib):
    rng = random.Random(7)
    half = mib // 2
    for number in range(max(1, half // 8)):
        size = min(8, half) << 20
        lines, length = [], 0
        while length < size:
            line = " ".join(rng.choices(WORDS, k=14)) + f" {rng.getrandbits(64):x}\n"
            lines.append(line)
            length += len(line)
        with open(f"{folder}/text{number:03}.txt", "w") as file:
            file.write("".join(lines)[:size])
        with open(f"{folder}/noise{number:03}.bin", "wb") as file:
            file.write(rng.randbytes(size))


def timed(command, **more):
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    return time.monotonic() - began


def shell(text):
    return timed(["bash", "-o", "pipefail", "-c", text])


def peak_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmHWM"].split()[0]) // 1024, int(fields["VmRSS"].split()[0]) // 1024


class Lifeboat:
    def __init__(self, binary, scratch, data):
        self.binary, self.dir, self.scratch = binary, f"{scratch}/lifeboat", scratch
        self.process = subprocess.Popen([binary, "up", "--demo", "--data", self.dir, "--admin", "127.0.0.1:0", "--proxy", "127.0.0.1:0"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(f"{self.dir}/run/addresses.json"):
            time.sleep(0.05)
        self.say("vault", "add", "bench", "--path", data)

    def pulse(self, load, seconds):
        """Percentiles of write calls, 100 a second, in microseconds."""
        key = f"{self.scratch}/client.key"
        if not os.path.exists(key):
            made = self.say("client", "add", "bench", "--role", "demo", "--rate", "0")
            with open(key, "w") as file:
                file.write(made["key"])
        with open(f"{self.dir}/run/addresses.json") as file:
            proxy = json.load(file)["proxy"]
        words = ["--url", f"https://{proxy}/mcp/demo", "--ca", f"{self.dir}/tls/ca.pem", "--key-file", key, "--tool", "add_note"]
        words += ["--connections", "8", "--rate", "100", "--bytes", "10", "--seconds", str(seconds)]
        done = subprocess.run([load, "--pulse", *words], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def say(self, *words):
        done = subprocess.run([self.binary, *words, "--data", self.dir, "--json"], check=True, capture_output=True)
        return json.loads(done.stdout)

    def backup(self):
        began = time.monotonic()
        made = self.say("backup", "run", "bench")["archives"][0]
        whole = time.monotonic() - began
        note = json.load(open(made["file"] + ".json"))
        at = lambda field: time.mktime(time.strptime(note[field][:19], "%Y-%m-%dT%H:%M:%S")) + float(note[field][19:23])
        return at("created_at") - at("started_at"), whole, made

    def restore(self, number):
        to = f"{self.scratch}/restored{number}"
        began = time.monotonic()
        self.say("restore", "latest:bench", "--to", to)
        took = time.monotonic() - began
        shutil.rmtree(to)
        return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lifeboat", default="target/release/lifeboat")
    parser.add_argument("--load", help="the load generator of tests/peers")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="lifeboat-backup-")
    data = f"{scratch}/data"
    os.mkdir(data)
    try:
        fill(data, options.mib)
        # What the system still has to write would be written beside the first round.
        os.sync()
        print(json.dumps(measure(options, scratch, data), indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def measure(options, scratch, data):
    subprocess.run(["age-keygen", "-o", f"{scratch}/key"], check=True, stderr=subprocess.DEVNULL)
    to = subprocess.run(["age-keygen", "-y", f"{scratch}/key"], check=True, capture_output=True, text=True).stdout.strip()
    lifeboat = Lifeboat(os.path.abspath(options.lifeboat), scratch, data)
    took = {}
    note = lambda name, seconds: took.setdefault(name, []).append(seconds)
    idle = peak_mib(lifeboat.process.pid)[1]
    try:
        for number in range(options.rounds):
            out = f"{scratch}/stock.age"
            note("stock write", shell(f"tar -C {data} -c . | zstd -T0 -3 -q | age -r {to} > {out} && sync {out}"))
            write, whole, _ = lifeboat.backup()
            note("lifeboat write", write)
            note("lifeboat write and verify", whole)
            back = f"{scratch}/stock"
            os.mkdir(back)
            note("stock restore", shell(f"age -d -i {scratch}/key {out} | zstd -dcq | tar -C {back} -x && sync -f {back}"))
            shutil.rmtree(back)
            note("lifeboat restore", lifeboat.restore(number))
            os.remove(out)
            others(scratch, data, note)
        peak = peak_mib(lifeboat.process.pid)[0]
        calls = beside(options, lifeboat) if options.load else None
    finally:
        lifeboat.process.terminate()
        lifeboat.process.wait()
    medians = {name: round(statistics.median(values), 2) for name, values in took.items()}
    base, back = medians["stock write"], medians["stock restore"]
    ratios = {name: round(value / (back if "restore" in name else base), 2) for name, value in medians.items()}
    told = {"mib": options.mib, "rounds": options.rounds, "seconds": medians, "ratio": ratios, "idle_mib": idle, "peak_mib": peak}
    return {**told, **({"write calls": calls} if calls else {})}


def beside(options, lifeboat):
    """The same calls without a backup, with one, and without one again, some times over: one slow moment of a disk is most of a p99."""
    seconds = max(2, options.mib // 100)
    rounds = []
    for _ in range(max(3, options.rounds)):
        calm = lifeboat.pulse(options.load, seconds)
        order = threading.Thread(target=lifeboat.backup)
        order.start()
        busy = lifeboat.pulse(options.load, seconds)
        # What was measured after its end would flatter it.
        covered = order.is_alive()
        order.join()
        again = lifeboat.pulse(options.load, seconds)
        before = min(calm["p99_us"], again["p99_us"])
        rounds.append({"calm": calm, "with a backup": busy, "again": again, "p99 ratio": round(busy["p99_us"] / before, 2), "covered": covered})
    return {"rounds": rounds, "p99 ratio": statistics.median(one["p99 ratio"] for one in rounds), "covered": all(one["covered"] for one in rounds)}


def others(scratch, data, note):
    secret = {**os.environ, "RESTIC_PASSWORD": "x", "BORG_PASSPHRASE": "x", "BORG_BASE_DIR": scratch, "RESTIC_CACHE_DIR": f"{scratch}/cache"}
    if shutil.which("restic"):
        repo = f"{scratch}/restic"
        timed(["restic", "-r", repo, "init"], env=secret)
        note("restic write", timed(["restic", "-r", repo, "backup", data], env=secret))
        shutil.rmtree(repo)
    if shutil.which("borg"):
        repo = f"{scratch}/borg"
        timed(["borg", "init", "-e", "repokey-blake2", repo], env=secret)
        note("borg write", timed(["borg", "create", "-C", "zstd,3", f"{repo}::one", data], env=secret))
        shutil.rmtree(repo)


if __name__ == "__main__":
    main()
