"""The same map by any workers, through any death: its hash, and the time it takes.

    python tests/benchmarks/cluster.py
    python tests/benchmarks/cluster.py --workers local:1 local:2 auto --tile-photos 30 \
        -- --images photos --features waymark

Without `--` the demo's 80 photos are mapped at their true poses. Every row is a run from nothing:
by each kind of workers; with a worker killed (SIGKILL) again and again; with the driver killed
and the same command given again until it ends. All hashes of one kind of map must be the same;
the exit code says so. `--plain` adds the map that is no map of tiles, by this process and by
each kind of workers.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_reloc.running.demo import demo_folder
from edge_reloc_export.cluster.outcome import TRIES

sys.path.insert(0, str(Path(__file__).parent))
from mapping import hashes

EVERY_S = (4.0, 8.0)  # between two kills of workers
DRIVER_S, DRIVERS = (5.0, 30.0), 5  # that a driver lives, and how many are killed
WORKER, RAY_TASK = b"edge_reloc_export.cluster.worker", b"ray::run_unit"


class Row(NamedTuple):
    """One way of making the map."""

    name: str
    seconds: float
    kills: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name:<34} {self.seconds:7.1f} s  {self.kills:3} kills  {self.digest}"


def demo_photos() -> list[str]:
    """Options of `edge-reloc map` for the demo's 80 photos at their true poses."""
    demo = demo_folder()
    known = ["--images", f"{demo}/frames", "--poses", f"{demo}/truth", "--metric"]
    return [*known, "--features", "sift", "--keypoints", "512"]


def descendants(root: int) -> list[int]:
    """Processes that a process started, and theirs."""
    parent = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found, young = [], [root]
    while young:
        young = [child for child, its in parent.items() if its in young]
        found += young
    return found


def busy_workers(driver: int) -> list[int]:
    """Workers of a driver, by what the system calls them."""
    found = []
    for pid in descendants(driver):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if WORKER in line.split(b"\0") or line.startswith(RAY_TASK):
                found.append(pid)
    return found


def kill_workers(driver: subprocess.Popen[bytes], rng: random.Random, killed: list[int]) -> None:
    """Kill one of a driver's workers now and then: so often that no unit can be given up."""
    while driver.poll() is None and len(killed) < TRIES - 1:
        time.sleep(rng.uniform(*EVERY_S))
        workers = busy_workers(driver.pid)
        if workers and driver.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid := rng.choice(workers), signal.SIGKILL)
                killed.append(pid)


def made(name: str, arguments: Sequence[str], *, kill: str = "", seed: int = 0) -> Row:
    """A map in a folder of its own."""
    rng, killed = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "map"
        command = [sys.executable, "-m", "edge_reloc", "map", *arguments, "--output", str(output)]
        begun = time.perf_counter()
        while True:
            with open(Path(folder) / "log", "ab") as log:
                driver = subprocess.Popen(command, stdout=log, stderr=log)
            if kill == "worker":
                threading.Thread(target=kill_workers, args=(driver, rng, killed)).start()
            try:
                code = driver.wait(
                    rng.uniform(*DRIVER_S) if kill == "driver" and len(killed) < DRIVERS else None
                )
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
                killed.append(driver.pid)
                continue
            if code:
                raise SystemExit((Path(folder) / "log").read_text())
            seconds = time.perf_counter() - begun
            return Row(name, seconds, len(killed), hashes(output))


def main() -> int:
    """Print a row for every way; 1 where two maps of a kind differ."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", nargs="+", default=["local:1", "local:2"])
    parser.add_argument("--tile-photos", default="30")
    parser.add_argument("--plain", action="store_true", help="also maps that are not of tiles")
    parser.add_argument("--no-kills", action="store_true")
    options = parser.parse_args(sys.argv[1:split])
    photos = sys.argv[split + 1 :] or demo_photos()
    tiled = [*photos, "--tile-photos", options.tile_photos, "--cluster"]
    same = True
    for kind in ["tiles", "plain"] if options.plain else ["tiles"]:
        if kind == "plain":
            ways = [("plain", photos, "")]
            ways += [(f"plain, {w}", [*photos, "--cluster", w], "") for w in options.workers]
        else:
            ways = [(f"tiles, {w}", [*tiled, w], "") for w in options.workers]
            if not options.no_kills:
                last = options.workers[-1]
                ways += [
                    (f"tiles, {last}, workers killed", [*tiled, last], "worker"),
                    (f"tiles, {last}, drivers killed", [*tiled, last], "driver"),
                ]
        rows = []
        for name, arguments, kill in ways:
            rows.append(made(name, arguments, kill=kill))
            print(rows[-1], flush=True)
        same &= len({row.digest for row in rows}) == 1
    print("all the same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
