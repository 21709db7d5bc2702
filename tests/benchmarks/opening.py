"""What the checks of a map cost: its opening with and without them, and what a frame pays.

    python tests/benchmarks/opening.py
    python tests/benchmarks/opening.py --map maps/office --calibration camera.json

One process opens the map again and again, in turn as always and with arrays and networks passed
off as checked, so that a busy machine slows both alike. What stays in both is printed beside it:
reading the manifest and comparing the folder with it. The frame's part is the look at the files
that are memory-mapped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.running.demo import demo_folder

WARM_UP, FRAMES = 3, 2000


def milliseconds(work: Callable[[], object]) -> np.ndarray:
    """Wall and processor time of a call (2,)."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return 1e3 * np.array([time.perf_counter() - wall, time.process_time() - processor])


def passed_off(bundle: MapBundle) -> MapBundle:
    """A bundle whose arrays and networks count as checked."""
    bundle.checked.update(bundle.manifest.files)
    bundle.checked_networks.update(bundle.manifest.files)
    return bundle


def opened(bundle: MapBundle, camera: Camera, settings: Settings) -> None:
    """Open a localiser and close it."""
    Localizer.open(bundle, camera, settings).close()


def tell(name: str, taken: np.ndarray) -> None:
    """A row: wall p50, p95, p99, maximum, and processor p50 of (N,2) milliseconds."""
    wall = np.quantile(taken[:, 0], [0.5, 0.95, 0.99, 1.0])
    numbers = " ".join(f"{ms:>9.2f}" for ms in (*wall, np.median(taken[:, 1])))
    print(f"{name:<28} {numbers}")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, default=demo_folder() / "map")
    parser.add_argument("--calibration", type=Path, default=demo_folder() / "camera.json")
    parser.add_argument("--method", help="default: the map's")
    parser.add_argument("--times", type=int, default=40, help="openings of each kind (default 40)")
    options = parser.parse_args()
    camera, settings = read_camera(options.calibration), Settings(method=options.method)
    taken: dict[str, list[np.ndarray]] = {"manifest and folder": [], "opened": [], "unchecked": []}
    for turn in range(WARM_UP + options.times):
        of_turn = {"manifest and folder": milliseconds(lambda: open_bundle(options.map))}
        kinds = {"opened": lambda bundle: bundle, "unchecked": passed_off}
        for name in list(kinds)[:: 1 - 2 * (turn % 2)]:
            bundle = kinds[name](open_bundle(options.map))
            of_turn[name] = milliseconds(lambda b=bundle: opened(b, camera, settings))
        for name, ms in of_turn.items():
            if turn >= WARM_UP:
                taken[name].append(ms)
    rows = {name: np.array(values) for name, values in taken.items()}
    columns = ("p50 ms", "p95 ms", "p99 ms", "max ms", "cpu p50")
    print(f"{'':<28} " + " ".join(f"{column:>9}" for column in columns))
    for name, label in (
        ("manifest and folder", "manifest and folder"),
        ("opened", "localiser, checked"),
        ("unchecked", "localiser, passed off"),
    ):
        tell(label, rows[name])
    cost = rows["opened"] - rows["unchecked"]
    tell("the checks, turn by turn", cost)
    whole, checks = np.median(rows["opened"][:, 1]), np.median(cost[:, 1])
    print(f"checks: {checks:.1f} ms, {checks / whole:.0%} of a localiser's processor time")
    bundle = open_bundle(options.map)
    with Localizer.open(bundle, camera, settings):
        each = np.concatenate([milliseconds(bundle.check_unchanged)[:1] for _ in range(FRAMES)])
    p50, p99 = np.quantile(each, [0.5, 0.99])
    print(f"a frame pays {1e3 * p50:.1f} us (p50), {1e3 * p99:.1f} us (p99) of {FRAMES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
