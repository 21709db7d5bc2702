"""The demo on an emulated ARM processor, against the same versions on this x86-64.

`python tests/arm/demo_on_arm.py --cache ~/.cache/edge_reloc_arm` fetches 0.8 GB once, takes a
minute a frame and method on one core, and prints how far the poses of both processors lie
apart. Started again it goes on where it stopped. Needs Debian's `apt-get` and `dpkg-deb`
(on x86-64), and no rights. Emulation shows that results are right, never how fast they come.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from machine import Machine, Stack, unpacked

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))

from edge_reloc.geometry.rigid import pose_error
from tests.golden.demo_poses import ELSEWHERE_DEG, ELSEWHERE_M

ALWAYS = ("pykdtree==1.4.3", "threadpoolctl==3.8.0", "tomli==2.4.0")
STACKS = (
    # The newest that Python 3.10 of JetPack 6 gets beside an OpenCV built for numpy 1.
    Stack(
        name="jetpack6",
        python="3.11",
        suite="bookworm",
        wheels=(
            "numpy==1.26.4",
            "opencv-python-headless==4.8.1.78",
            "onnxruntime==1.23.2",
            *ALWAYS,
        ),
    ),
    # The newest that Python 3.12 of JetPack 7 gets.
    Stack(
        name="jetpack7",
        python="3.13",
        suite="trixie",
        wheels=(
            "numpy==2.5.5",
            "opencv-python-headless==4.14.0.94",
            "onnxruntime==1.32.0",
            *ALWAYS,
        ),
    ),
)
#: of the heads the first pass alone, since the second finds the same whatever found the first
VARIANTS = {
    "exhaustive": ("--method=exhaustive",),
    "image_retrieval": ("--method=image_retrieval",),
    "visible_structure, cells": ("--head=cells", "--no-second-pass"),
    "visible_structure, generative": ("--head=generative", "--no-second-pass"),
    "landmarks": ("--method=landmarks", "--no-second-pass"),
    "scene_coordinates": ("--method=scene_coordinates",),
    "second pass": ("--second-pass",),
}
HEAD = f"{'method':<30} {'stack':<9} python  frames  OK  statuses  max mm  max deg"


def main() -> int:
    """0 when all statuses are equal and all poses as near as other processors may be."""
    options = parse()
    cache = options.cache.resolve()
    stacks = [s for s in STACKS if s.name in options.stacks]
    runtime = as_it_is(cache)
    print(HEAD, flush=True)
    wrong = 0
    for stack in stacks:
        here = unpacked(stack, "amd64", cache, runtime, cpu=options.cpu)
        there = unpacked(stack, "arm64", cache, runtime, cpu=options.cpu, own=options.python)
        for name in options.methods:
            lines = [
                run(machine, name, options.frames, runtime / "poses" / f"{stack.name}-{kind}")
                for machine, kind in (
                    (here, "x86_64"),
                    (there, f"{there.version}-aarch64-{options.cpu}"),
                )
            ]
            wrong += report(f"{name:<30} {stack.name:<9} {there.version:<6}", *lines)
    return int(wrong > 0)


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder for what is fetched")
    parser.add_argument("--frames", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--cpu", default="cortex-a76", help="one of `qemu-aarch64 -cpu help`")
    parser.add_argument("--methods", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    names = [stack.name for stack in STACKS]
    parser.add_argument("--stacks", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--python",
        type=Path,
        metavar="DIR",
        help="unpacked aarch64 Python that has wheels of the stack, instead of Debian's: the "
        "folder that `uv python install cpython-3.10-linux-aarch64-gnu` makes",
    )
    return parser.parse_args()


def as_it_is(cache: Path) -> Path:
    """A copy of the runtime, so that all poses are those of the same code."""
    found = hashlib.sha256()
    for path in sorted((TREE / "edge_reloc").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(path.read_bytes())
    copy = cache / f"runtime-{found.hexdigest()[:12]}"
    if not copy.exists():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TREE / "edge_reloc", copy / "edge_reloc", ignore=ignored)
    return copy


def run(machine: Machine, name: str, frames: int, folder: Path) -> list[dict[str, Any]]:
    """Lines of the demo's first frames, of this run or of an earlier one."""
    output = folder / f"{name.replace(', ', '-')}-{frames}.jsonl"
    if not output.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = output.with_suffix(".part.jsonl")
        unfinished.unlink(missing_ok=True)
        log = output.with_suffix(".log")
        before = _processor_time()
        try:
            machine.python(
                *("-m", "edge_reloc.run", "--demo", *VARIANTS[name], "--threads=1"),
                *(f"--frames={frames}", f"--output={unfinished}"),
                log=log,
            )
        except subprocess.CalledProcessError as error:
            sys.exit(f"{name} ended with {error.returncode}:\n{log.read_text()}")
        took_s = _processor_time() - before
        print(f"{output}: {took_s:.0f} s of processor time", file=sys.stderr, flush=True)
        unfinished.rename(output)
    return [json.loads(line) for line in output.read_text().splitlines()]


def report(name: str, here: list[dict[str, Any]], there: list[dict[str, Any]]) -> bool:
    """Print one row; whether something differs that may not."""
    equal = [line["status"] for line in here] == [line["status"] for line in there]
    errors = [
        pose_error(np.array(one["cam_from_world"]), np.array(other["cam_from_world"]))
        for one, other in zip(here, there, strict=True)
        if one["cam_from_world"] is not None and other["cam_from_world"] is not None
    ]
    metres = max((e.translation for e in errors), default=float("nan"))
    degrees = max((e.rotation_deg for e in errors), default=float("nan"))
    good = sum(line["status"] == "OK" for line in there)
    print(
        f"{name}  {len(there):>6} {good:>3}  "
        f"{'equal' if equal else 'DIFFER':<8}  {1e3 * metres:>6.3f}  {degrees:>7.4f}",
        flush=True,
    )
    return not (equal and metres <= ELSEWHERE_M and degrees <= ELSEWHERE_DEG)


def _processor_time() -> float:
    """Seconds that all programs started from here took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
