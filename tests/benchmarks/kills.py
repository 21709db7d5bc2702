"""Kill programs at random moments: is anything lost, and does any litter stay?

    python tests/benchmarks/kills.py --kills 200

Each program runs once undisturbed, which tells how long it takes and what it makes. Then it
is started again and again and killed (SIGKILL) after a random share of that time. After each
kill what it makes must be what was there before, or what it makes undisturbed, whole. At the
end it runs undisturbed in what the kills left: the result must be the same to the bit, and no
file may lie there that does not lie there without kills.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_reloc.bundle import open_bundle
from edge_reloc.errors import BundleError
from edge_reloc.running.demo import demo_folder

PHOTOS, LATER = 10, 3  # of a mapping, and of an update
LONGER = 1.1  # kills come up to this share of the time that a run takes
OF_A_CLOCK = ("stages_ms", "t_ns", "age_ms")  # of a line of poses: differ from run to run


class Job(NamedTuple):
    """A program as it is started, and the bundle or file of poses that it makes."""

    name: str
    arguments: tuple[str, ...]
    product: str
    #: what makes of it what is there halfway: a head that is kept as soon as it is done
    halfway: tuple[str, ...] = ()


MAP = ("map", "--images", "photos", "--features", "sift", "--keypoints", "512")
ALONE = (*MAP, "--camera", "camera.json", "--any-grade")
POSED = (*MAP, "--poses", "truth")
TRAIN = ("train", "--map", "a", "--method")
JOBS = {
    job.name: job
    for job in (
        Job("map", (*POSED, "--output", "a"), "a"),
        Job("alone", (*ALONE, "--output", "a"), "a"),  # of the photos alone
        Job("combine", ("combine", "--maps", "a", "b", "--output", "both"), "both"),
        Job("update", ("update", "--map", "a", "--images", "later", "--output", "new"), "new"),
        Job("train", (*TRAIN, "landmarks", "--landmarks", "4", "--iterations", "4"), "a"),
        Job("heads", (*TRAIN, "visible_structure", "--iterations", "20"), "a", ("--head", "cells")),
        Job("regression", (*TRAIN, "scene_coordinates", "--iterations", "25", "--any-grade"), "a"),
        Job("export", ("export", "compact", "--map", "office"), "office"),
        Job("run", ("run", "--demo", "--frames", "30", "--output", "poses.jsonl"), "poses.jsonl"),
    )
}


class Outcome(NamedTuple):
    """What kills of one program came to."""

    name: str
    seconds: float  #: of a run without kills
    kills: int
    finished: int  #: runs that ended before their kill
    faults: list[str]

    def __str__(self) -> str:
        ended = f"{self.kills} kills, {self.finished} too late, {len(self.faults)} faults"
        return "\n".join([f"{self.name:<10} {self.seconds:5.1f} s alone, {ended}", *self.faults])


def main(argv: Sequence[str] | None = None) -> int:
    """Kill, print what came of it, and return 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="in all (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--programs", default=",".join(JOBS), help="default: %(default)s")
    options = parser.parse_args(argv)
    names = options.programs.split(",")
    rng = random.Random(options.seed)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        base = prepare(Path(folder) / "base", names)
        for index, name in enumerate(names):
            kills = options.kills // len(names) + (index < options.kills % len(names))
            outcome = torment(JOBS[name], base, Path(folder) / name, kills, rng)
            print(outcome, flush=True)
            faults += len(outcome.faults)
    return 1 if faults else 0


def prepare(base: Path, names: Sequence[str]) -> Path:
    """Photos with poses, and the maps that the programs begin with."""
    demo = demo_folder()
    (base / "photos").mkdir(parents=True)
    (base / "later").mkdir()
    for index, photo in enumerate(sorted((demo / "frames").iterdir())[: PHOTOS + LATER]):
        shutil.copy(photo, base / ("photos" if index < PHOTOS else "later"))
    shutil.copytree(demo / "truth", base / "truth")
    shutil.copy(demo / "camera.json", base)
    shutil.copytree(demo / "map", base / "office")
    if {job for job in names if JOBS[job].product in ("a", "both", "new")}:
        run(base, (*POSED, "--output", "a", "--min-length", "4"))  # another one than is made later
    if "combine" in names:
        run(base, (*POSED, "--output", "b"))
    return base


def torment(job: Job, base: Path, folder: Path, kills: int, rng: random.Random) -> Outcome:
    """Run undisturbed, then be killed, then run undisturbed in what is left."""
    alone, killed = folder / "alone", folder / "killed"
    shutil.copytree(base, alone)
    before = digest(alone / job.product)
    begun = time.perf_counter()
    run(alone, job.arguments)
    seconds = time.perf_counter() - begun
    after = digest(alone / job.product)
    whole = {before, after}
    if job.halfway:
        begun_only = Path(shutil.copytree(base, folder / "halfway"))
        run(begun_only, (*job.arguments, *job.halfway))
        whole.add(digest(begun_only / job.product))
    faults, finished = [], 0
    shutil.copytree(base, killed)
    for number in range(kills):
        delay_s = rng.uniform(0, LONGER * seconds)
        ended = run(killed, job.arguments, kill_after_s=delay_s)
        found = digest(killed / job.product)
        if not (found in whole or is_beginning(killed / job.product, after)):
            faults.append(f"  kill {number} after {delay_s:.2f} s: {job.product} is {found}")
        if ended:
            finished += 1
            shutil.rmtree(killed)
            shutil.copytree(base, killed)
    run(killed, job.arguments)
    if digest(killed / job.product) != after:
        faults.append(f"  {job.product} is another one after kills than without")
    stray = set(files_below(killed)) ^ set(files_below(alone))
    if stray:
        faults.append(f"  only with kills, or only without: {sorted(stray)}")
    shutil.rmtree(folder)
    return Outcome(job.name, seconds, kills, finished, faults)


def run(folder: Path, arguments: Sequence[str], kill_after_s: float | None = None) -> bool:
    """Run a program in a folder; whether it ended by itself. RuntimeError when it fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_reloc", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        _, told = process.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {told.decode()}")
    return True


def digest(product: Path) -> str:
    """Of a whole bundle or of whole lines of poses; in words where there is none."""
    if product.suffix == ".jsonl":
        return "nothing" if not product.exists() else "\n".join(poses(product))
    try:
        open_bundle(product, verify=True)
    except BundleError as error:
        return "nothing" if not product.exists() else str(error)
    total = hashlib.sha256()
    for name in files_below(product):
        total.update(name.encode() + (product / name).read_bytes())
    return total.hexdigest()


def poses(path: Path) -> list[str]:
    """The lines without what a clock told. ValueError for a line that is not whole."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        json.dumps({key: v for key, v in line.items() if key not in OF_A_CLOCK}) for line in lines
    ]


def is_beginning(product: Path, whole: str) -> bool:
    """Whether a file of poses holds the first lines of the whole one."""
    return product.suffix == ".jsonl" and whole.startswith("\n".join(poses(product)))


def files_below(folder: Path) -> list[str]:
    """Relative names of files, hidden ones too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


if __name__ == "__main__":
    sys.exit(main())
