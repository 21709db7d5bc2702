"""Spoilt maps, maps of tiles and deltas, used in processes of their own, under limits.

`python tests/fuzz/fuzz_bundles.py --seconds 3600 --seed 7` tries for an hour and exits with 1
if anything but a pose, a status or an EdgeRelocError of one line came out, if a map hung or
took memory that was not planned. `--program` gives each map to `edge-reloc run` instead.
`--kind city` spoils a map of two tiles, `--kind delta` makes deltas that are applied first.
`--keep DIR --first 123 --count 1` leaves a mutant there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from bundle_mutations import mutate
from city_mutations import mutate_city
from delta_mutations import mutate_delta
from remembered_networks import remembered

import edge_reloc
from edge_reloc.bundle.mapping_cameras import only_camera
from edge_reloc.delta.applying import apply_delta
from edge_reloc.errors import ConfigError, EdgeRelocError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.memory.process import read_memory
from edge_reloc.methods import Settings
from edge_reloc.sources.photo import read_photo
from edge_reloc.tiles.any_map import open_on
from edge_reloc.tiles.tiled_bundle import open_map
from edge_reloc_export.tiles.write import write_tiles

DEMO = Path(edge_reloc.__file__).parent / "demo"
FRAME = DEMO / "frames" / "frame_010.jpg"
# Without a word from a process: of a processor, and by the clock, since it may share its core
# with many and may wait for ever.
HANGS_CPU_S, HANGS_S = 20, 600
MOST_CPU_S = 5  # that a map takes of a processor to be opened and to localise a frame
ADDRESS_SPACE_BYTES = 6 << 30
BEYOND_PLAN_BYTES = 64 << 20
BATCH = 500  # maps a process
SETTINGS = (
    {"method": "visible_structure", "head": "cells"},
    {"method": "visible_structure", "head": "generative"},
    {"method": "visible_structure", "head": "generative", "search": "nearest"},
    {"method": "landmarks"},
    {"method": "landmarks", "registration": "landmark_wise"},
    {"method": "landmarks", "registration": "published"},
    {"method": "image_retrieval"},
    {"method": "scene_coordinates"},
    {"method": "exhaustive"},
    {},
)
KINDS = ("map", "city", "delta")
DELTA = "delta"
REFUSED, WRONG = "refused", ("raised", "untrue", "memory", "slow", "hung", "died")


@dataclass
class Report:
    """What came of the maps."""

    outcomes: Counter[str] = field(default_factory=Counter)
    #: one line for each map that did what none may
    wrong: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Maps."""
        return self.outcomes.total()


def fuzz(
    seed: int,
    *,
    first: int = 0,
    count: int | None = None,
    seconds: float = 1e9,
    program: bool = False,
    kind: str = "map",
) -> Report:
    """Try maps from number `first` on until there were `count` of them, or time is up.

    program: give them to the program, each in a process of its own. kind: one of KINDS.
    """
    report, end, number = Report(), time.monotonic() + seconds, first
    last = None if count is None else first + count
    while time.monotonic() < end and (last is None or number < last):
        stop = number + BATCH if last is None else min(number + BATCH, last)
        for word in _batch(seed, number, stop, end, program, kind):
            report.outcomes[word["outcome"]] += 1
            number = word["number"] + 1
            if word["outcome"] in WRONG:
                report.wrong.append(f"{word['number']}: {word['outcome']}: {word['detail']}")
    return report


def _batch(
    seed: int, number: int, stop: int, end: float, program: bool, kind: str
) -> Iterator[dict[str, Any]]:
    """Words of one process; when it hangs or dies, one about that is the last.

    A map that was begun is waited for, also beyond the end of the time.
    """
    command = [sys.executable, __file__, "--seed", str(seed), "--first", str(number)]
    command += ["--count", str(stop - number), "--worker", "--kind", kind]
    command += ["--program"] if program else []
    with (
        tempfile.TemporaryDirectory() as scratch,  # a process that is killed leaves its own
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": scratch},
        ) as process,
    ):
        assert process.stdout is not None
        began, pending = number, b""
        spoke, worked = time.monotonic(), _worked_s(process.pid)
        try:
            while number < stop and time.monotonic() < end:
                if not select.select([process.stdout], [], [], 1)[0]:
                    waited, took = time.monotonic() - spoke, _worked_s(process.pid) - worked
                    if waited > HANGS_S or took > HANGS_CPU_S:
                        detail = f"{waited:.0f} s, {took:.0f} s of a processor"
                        yield {"number": number, "outcome": "hung", "detail": detail}
                        return
                    continue
                spoke, worked = time.monotonic(), _worked_s(process.pid)
                read = os.read(process.stdout.fileno(), 1 << 16)
                if not read:
                    detail = f"exit {process.wait()}, {number - began} maps after its first"
                    yield {"number": number, "outcome": "died", "detail": detail}
                    return
                *lines, pending = (pending + read).split(b"\n")
                for line in lines:
                    word = json.loads(line)
                    number = word["number"] + 1
                    yield word
        finally:
            process.kill()


def work(
    seed: int, first: int, count: int, keep: Path | None, program: bool, kind: str = "map"
) -> None:
    """Try maps in this process, and print a line of JSON about each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    image = read_photo(FRAME)
    with tempfile.TemporaryDirectory() as work_folder:
        folder = Path(work_folder)
        pristine = _pristine(kind, folder / "pristine")
        with remembered(pristine):
            for settings in SETTINGS:  # what each takes of an honest map
                with contextlib.suppress(ConfigError):  # which not every kind has
                    _localise(pristine, settings, image)
            allowed = _peak() + BEYOND_PLAN_BYTES
            for number in range(first, first + count):
                random = Random(f"{seed}-{number}")
                bundle = folder / "map"
                shutil.copytree(pristine, bundle, copy_function=os.link)
                done = _spoil(kind, random, bundle)
                settings = random.choice(SETTINGS)
                own_camera, began_s, planned = random.random() < 0.2, _cpu_s(), 0
                _forget_peak()
                if program:
                    outcome, detail = _by_program(bundle, settings, own_camera)
                else:
                    outcome, detail, planned = _outcome(bundle, settings, image, own_camera)
                if _cpu_s() - began_s > MOST_CPU_S:
                    outcome, detail = "slow", f"{_cpu_s() - began_s:.1f} s of a processor"
                if _peak() > allowed + planned:
                    outcome, detail = (
                        "memory",
                        f"{_peak() >> 20} MiB, {(allowed + planned) >> 20} allowed",
                    )
                word = {
                    "number": number,
                    "outcome": outcome,
                    "detail": f"{detail} [{done}; {settings}]",
                }
                print(json.dumps(word), flush=True)
                if keep is not None:
                    shutil.copytree(bundle, keep / str(number))
                shutil.rmtree(bundle)
                bundle.with_name(DELTA).unlink(missing_ok=True)
                if outcome == "memory":
                    return  # what it holds now may be of this map


def _pristine(kind: str, folder: Path) -> Path:
    if kind == "city":
        write_tiles(folder, {"north": DEMO / "map", "south": DEMO / "map"}, name="two yards")
        return folder
    return Path(shutil.copytree(DEMO / "map", folder))


def _spoil(kind: str, random: Random, bundle: Path) -> str:
    """In place, or beside a map the delta that would spoil it; what was done, in words."""
    if kind == "map":
        return mutate(random, bundle)
    if kind == "city":
        return mutate_city(random, bundle)
    return mutate_delta(random, bundle, bundle.with_name(DELTA))


def _outcome(
    bundle: Path, settings: dict[str, Any], image: Any, own_camera: bool
) -> tuple[str, str, int]:
    """What came of a map, in a word and in more, and the bytes of its arena.

    own_camera: localise with the camera that the map names.
    """
    try:
        return _localise(bundle, settings, image, own_camera)
    except EdgeRelocError as error:
        text = str(error)
        return (REFUSED if text.isprintable() else "untrue"), text, 0
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "raised", f"{type(error).__name__} {error} at {frame.filename}:{frame.lineno}", 0


def _by_program(bundle: Path, settings: dict[str, Any], own_camera: bool) -> tuple[str, str]:
    """What `edge-reloc run` says of a map: a summary, or one line and exit code 1."""
    command = [sys.executable, "-m", "edge_reloc.run", "--map", str(bundle)]
    command += ["--source", str(FRAME), "--threads", "1", "--json"]
    command += [] if own_camera else ["--calibration", str(DEMO / "camera.json")]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", value]
    try:
        done = subprocess.run(command, capture_output=True, timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        return "hung", f"{HANGS_S} s"
    said = done.stderr.decode(errors="replace").strip().split("\n")
    if done.returncode == 0:
        counts = json.loads(done.stdout)["statuses"]  # of one frame
        return max(counts, key=lambda status: int(counts[status])), ""
    if done.returncode != 1 or not said[-1].startswith("error: ") or "Traceback" in said[0]:
        return "raised", f"exit {done.returncode}: {said[-1]}"
    return REFUSED, said[-1]


def _localise(
    bundle: Path, settings: dict[str, Any], image: Any, own_camera: bool = False
) -> tuple[str, str, int]:
    delta = bundle.with_name(DELTA)
    if delta.exists():
        apply_delta(bundle, delta, bundle)
    opened = open_map(bundle)
    camera = only_camera(opened)[0] if own_camera else read_camera(DEMO / "camera.json")
    with open_on(opened, camera, Settings(threads=1, **settings)) as localizer:
        result = localizer.localize(image)
        planned = localizer.arena_bytes
    json.dumps(result.estimate.to_json(), allow_nan=False)
    if result.cam_from_world is None or result.covariance is None:
        return result.status.value, "", planned
    pose, least = result.cam_from_world, float(np.linalg.eigvalsh(result.covariance).min())
    turned = abs(np.linalg.det(pose[:3, :3]) - 1)
    if turned > 1e-6 or least < -1e-9:
        return "untrue", f"determinant 1 + {turned:.1g}, covariance from {least:.1g}", planned
    return result.status.value, "", planned


def _forget_peak() -> None:
    """Have Linux count from now on what this process holds at most."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Most memory that this process has held, bytes."""
    return read_memory().peak_bytes or 0


def _worked_s(pid: int) -> float:
    """Time of a processor that a process took, seconds; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_s() -> float:
    """Time of a processor that this process and its children took, seconds."""
    took = os.times()
    return took.user + took.system + took.children_user + took.children_system


def main() -> int:
    """Exit code: 1 where a map did what none may."""
    parser = argparse.ArgumentParser(description="Spoil the demo's map and try what comes of it.")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--seconds", type=float, default=1e9, help="time for it (default: endless)")
    parser.add_argument("--first", type=int, default=0, help="number of the first map")
    parser.add_argument("--count", type=int, help="maps to try (default: endless)")
    parser.add_argument("--keep", type=Path, help="folder for the spoilt maps")
    parser.add_argument("--kind", choices=KINDS, default="map", help="what is spoilt")
    parser.add_argument("--program", action="store_true", help="give them to `edge-reloc run`")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker or options.keep is not None:
        count = options.count or 1
        work(options.seed, options.first, count, options.keep, options.program, options.kind)
        return 0
    report = fuzz(
        options.seed,
        first=options.first,
        count=options.count,
        seconds=options.seconds,
        program=options.program,
        kind=options.kind,
    )
    print("\n".join(report.wrong))
    print(f"{report.tried} maps: {dict(report.outcomes)}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
