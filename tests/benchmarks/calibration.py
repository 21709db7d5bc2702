"""Whether the standard deviations of a calibration are true.

`python tests/benchmarks/calibration.py` renders sets of photos of a board through a known camera,
calibrates each, and compares what is off with the ± that is reported.
`python tests/benchmarks/calibration.py --photos FOLDER --board TEXT` halves a real set at random
again and again: the difference of both halves, in units of the ± of both, is 1 root mean square
where ± is true.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "packages")]

import board_world

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.sources import open_source
from edge_reloc_calib.boards import parse_board
from edge_reloc_calib.detectors import BoardDetector
from edge_reloc_calib.fit import PARAMETERS, Fit, fit_camera
from edge_reloc_calib.gather import MIN_CORNERS, gather_photos
from edge_reloc_calib.intrinsics import calibrate, fit_lens
from edge_reloc_calib.residuals import Problem, View
from edge_reloc_calib.uncertainty import std_by_corner

LENSES = {
    "pinhole": (380.0, ()),
    "opencv": (380.0, (-0.28, 0.09, 0.001, -0.0006)),
    "fisheye": (190.0, (-0.02, 0.005, -0.003, 0.001)),
}
WORDS = {
    "photo": "jackknife by photo (reported)",
    "corner": "corners independent",
    "bootstrap": "bootstrap of photos",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=50)
    parser.add_argument("--views", type=int, default=14)
    parser.add_argument("--lens", choices=list(LENSES), default="opencv")
    parser.add_argument("--board", default="charuco:7x5:0.03:0.022")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="also, of N refits")
    parser.add_argument("--photos", help="a real set instead")
    parser.add_argument("--halvings", type=int, default=20)
    arguments = parser.parse_args(argv)
    start_s = time.process_time()
    ratios = _real(arguments) if arguments.photos else _rendered(arguments)
    lens = "opencv" if arguments.photos else arguments.lens
    for name, values in ratios.items():
        _tell(name, np.array(values), PARAMETERS[lens])
    print(f"{time.process_time() - start_s:.0f} s of processor time")
    return 0


def _tell(name: str, ratio: np.ndarray, parameters: Sequence[str]) -> None:
    """Of (S,K) errors in standard deviations."""
    rms = np.sqrt((ratio**2).mean(axis=0))
    each = "  ".join(f"{p} {r:.2f}" for p, r in zip(parameters, rms, strict=False))
    print(f"{WORDS[name]}: {len(ratio)} sets, {ratio.shape[1]} parameters")
    print(
        f"  error / ±: {np.sqrt((ratio**2).mean()):.2f} root mean square, largest "
        f"{np.abs(ratio).max():.1f}; within 3 ±: {(np.abs(ratio) < 3).mean():.1%}; "
        f"within 1.96 ± (95 %): {(np.abs(ratio) < 1.96).mean():.1%}"
    )
    print(f"  {each}")


def _ratios(fit: Fit, off: np.ndarray, views: list[View], bootstrap: int) -> dict[str, np.ndarray]:
    """What a fit is off in units of each kind of standard deviation."""
    kinds = _kinds(fit, views, bootstrap)
    return {name: off[: len(std)] / std for name, std in kinds.items()}


def _kinds(fit: Fit, views: list[View], bootstrap: int) -> dict[str, np.ndarray]:
    problem, poses = Problem(views), np.array(fit.cam_from_board)
    system = problem.system(fit.camera, poses, len(fit.std))
    kinds = {
        "photo": fit.std,
        "corner": std_by_corner(system, problem.residuals(fit.camera, poses)),
    }
    if bootstrap:
        kinds["bootstrap"] = _bootstrap(fit, views, bootstrap)
    return kinds


def _bootstrap(fit: Fit, views: list[View], count: int) -> np.ndarray:
    rng, found = np.random.default_rng(0), []
    while len(found) < count:
        drawn = [views[i] for i in rng.integers(0, len(views), len(views))]
        try:
            camera = fit_camera(fit.lens, drawn, fit.camera).camera
        except CameraError:
            continue
        found.append(camera.parameters[: len(fit.std)])
    return np.asarray(np.std(found, axis=0, ddof=1))


def _rendered(arguments: argparse.Namespace) -> dict[str, list[np.ndarray]]:
    focal, distortion = LENSES[arguments.lens]
    board = parse_board(arguments.board)
    out: dict[str, list[np.ndarray]] = {}
    for seed in range(arguments.sets):
        rng = np.random.default_rng(seed)
        true = Camera(
            model=arguments.lens,
            width=480,
            height=360,
            fx=focal * rng.uniform(0.9, 1.2),
            fy=focal * rng.uniform(0.9, 1.2),
            cx=239.5 + rng.uniform(-8, 8),
            cy=179.5 + rng.uniform(-8, 8),
            distortion=tuple(k * rng.uniform(0.5, 1.2) for k in distortion),
        )
        world = board_world.BoardWorld(board, true)
        detector, views = BoardDetector(board), []
        across_m = board.size[0] * board.square_m
        for i, pose in enumerate(world.poses(arguments.views, across_m * focal / 230, seed)):
            found = detector.detect(world.photo(pose, 1000 * seed + i))
            if found is not None and len(found) >= MIN_CORNERS:
                corners = board.corners_m[found.corner]
                views.append(
                    View(
                        name=str(i),
                        xyz_board=corners,
                        xy_px=found.xy_px,
                        radius_m=board.radius_m,
                    )
                )
        fit, corrected = fit_lens(arguments.lens, views, true.width, true.height)
        off = fit.camera.parameters - true.parameters
        for name, z in _ratios(fit, off, corrected, arguments.bootstrap).items():
            out.setdefault(name, []).append(z)
    return out


def _real(arguments: argparse.Namespace) -> dict[str, list[np.ndarray]]:
    source = open_source(arguments.photos, exit_on_end=True)
    gathered = gather_photos(source, parse_board(arguments.board), lambda _: None)
    whole = calibrate(gathered.views, gathered.width, gathered.height, "opencv")
    views = whole.views
    print(f"{len(views)} photos, training {whole.fit.rms_px:.3f} px, held out "
          f"{whole.camera.rms_px:.3f} px")  # fmt: skip
    rng = np.random.default_rng(0)
    out: dict[str, list[np.ndarray]] = {}
    for _ in range(arguments.halvings):
        order = rng.permutation(len(views))
        halves = [[views[i] for i in part] for part in np.array_split(order, 2)]
        fits = [fit_camera("opencv", half, whole.fit.camera) for half in halves]
        apart = fits[0].camera.parameters - fits[1].camera.parameters
        kinds = [_kinds(f, h, arguments.bootstrap) for f, h in zip(fits, halves, strict=True)]
        for name in kinds[0]:
            both = np.hypot(kinds[0][name], kinds[1][name])
            out.setdefault(name, []).append(apart[: len(both)] / both)
    return out


if __name__ == "__main__":
    sys.exit(main())
