"""Is what `edge-reloc coverage` predicts what localisation then does?

    python tests/benchmarks/coverage_forecast.py --courtyard 120
    python tests/benchmarks/coverage_forecast.py --map MAP --data DATA/kitchen --every 2

The first renders frames of the demo's courtyard at random poses, good and bad (anywhere in the
yard, any heading, pitch -40 to 40 degrees), and localises them in the demo's map. The second
takes the queries of a data set and their reference poses. Predictions are made from the true
pose; nothing of the frames is used. Prints Spearman's rank correlation with its bootstrap
interval of 95 %, and how often each predicted status was right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import edge_reloc
from edge_reloc.bundle import MapBundle, layout, open_bundle
from edge_reloc.bundle.points import open_points
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import pose_error, transform
from edge_reloc.reference.colmap import read_model
from edge_reloc.settings import Gate
from edge_reloc_export.forecast.coverage_files import Coverage
from edge_reloc_export.forecast.coverage_picture import draw
from edge_reloc_export.forecast.heading_grid import make_grid
from edge_reloc_export.forecast.left_out_scale import BALL_95, calibrate
from edge_reloc_export.forecast.match_rate import learn_rate
from edge_reloc_export.forecast.predict import Expected, Prediction, Predictor, forecast, refines
from edge_reloc_export.forecast.seen_from import Observations
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.scene.combine import open_any_store
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.work_folder import existing_work_folder

SEED, RESAMPLES = 20, 2000
YARD_M = ((-5.7, -4.7, 0.4), (5.7, 4.7, 3.0))
FOUNTAIN_M, PITCH_DEG = 1.2, 40.0
RIGHT_M, RIGHT_DEG = 0.10, 2.0
DEMO = Path(edge_reloc.__file__).parent / "demo"


class Case(NamedTuple):
    """One frame: predicted, and what happened."""

    predicted: Prediction
    right: bool
    inliers: int
    error_m: float  #: inf without a pose
    claimed_m: float  #: standard deviation by the pose's own covariance; inf without a pose


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--courtyard", type=int, help="frames to render")
    parser.add_argument("--map", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument(
        "--as-poses", action="store_true", help="the covariance scaled as that of poses"
    )
    parser.add_argument("--output", type=Path, help="JSON of every frame")
    parser.add_argument("--picture", type=Path, help="draw the courtyard's coverage, no frames")
    options = parser.parse_args()
    if options.picture:
        return picture(options.picture)
    cases = list(_courtyard(options.courtyard) if options.courtyard else _queries(options))
    if options.output:
        rows = [
            [*vars(c.predicted).values(), c.right, c.inliers, c.error_m, c.claimed_m] for c in cases
        ]
        options.output.write_text(json.dumps(rows, default=lambda status: status.value))
    tell(cases)


def picture(path: Path) -> None:
    """The picture of docs/coverage.md, as `edge-reloc coverage` draws it."""
    bundle, camera, views = _demo()
    world = bundle.manifest.world
    model = SceneModel(
        views=views,
        xyz=np.asarray(bundle.array(layout.XYZ), np.float64),
        metric=world.metric,
        gravity=np.array(world.gravity),
    )
    grid = make_grid(model, step=None, every_deg=45.0, height=None)
    predictions = forecast(_predictor(bundle, views), camera, grid)
    coverage = Coverage(grid=grid, predictions=predictions, world=world)
    draw(path, coverage, model)
    print(coverage.summary())


def tell(cases: list[Case]) -> None:
    """Correlations, and what became of each status."""
    matches = np.array([case.predicted.matches for case in cases])
    sigma = np.array([case.predicted.position for case in cases])
    right = np.array([case.right for case in cases])
    inliers = np.array([case.inliers for case in cases])
    error = np.array([case.error_m for case in cases])
    posed = np.isfinite(error) & np.isfinite(sigma)
    print(f"{len(cases)} frames, {right.sum()} right, {posed.sum()} with a pose")
    for name, x, y in (
        ("matches, success", matches, right),
        ("matches, inliers", matches, inliers),
        ("sigma, error (failures last)", sigma, error),
        ("sigma, error (of poses)", sigma[posed], error[posed]),
    ):
        low, high = interval(x, y)
        print(f"  {name}: Spearman {spearman(x, y):+.2f} ({low:+.2f} to {high:+.2f})")
    for status in Expected:
        own = [case for case in cases if case.predicted.status is status]
        share = f"{sum(case.right for case in own)} of {len(own)} right"
        print(f"  predicted {status.value}: {share}")
    claimed = np.array([case.claimed_m for case in cases])
    for whose, its in (("predicted", sigma), ("the poses' own", claimed)):
        within = int((error[posed] <= BALL_95 * its[posed]).sum())
        print(
            f"  {within} of {posed.sum()} errors within {BALL_95} of {whose} sigma (95% expected)"
        )
    medians = [float(np.median(values[posed])) for values in (error, sigma, claimed)]
    print("  medians: error {:.4f}, sigma predicted {:.4f}, of poses {:.4f}".format(*medians))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Rank correlation; equal values share the mean of their ranks."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return float("nan")
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - 0.5 * (counts - 1))[group]


def interval(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of bootstrap resamples."""
    generator = np.random.default_rng(SEED)
    rows = generator.integers(0, len(x), (RESAMPLES, len(x)))
    found = [spearman(x[row], y[row]) for row in rows]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def _courtyard(count: int) -> Iterator[Case]:
    from edge_reloc_export.worlds.courtyard import make_courtyard
    from edge_reloc_export.worlds.effects import apply_effects
    from edge_reloc_export.worlds.render import render
    from edge_reloc_export.worlds.trajectories import look
    from edge_reloc_export.worlds.world import WorldConfig
    from edge_reloc_export.worlds.write import QUERY_EFFECTS

    bundle, camera, views = _demo()
    predictor = _predictor(bundle, views)
    world = make_courtyard(WorldConfig(seed=7, texel_m=0.004))
    generator = np.random.default_rng(SEED)
    with edge_reloc.open(DEMO / "map", camera=camera, threads=1) as localizer:
        while count:
            place = generator.uniform(*YARD_M)
            if np.hypot(*place[:2]) < FOUNTAIN_M:
                continue
            heading = generator.uniform(0, 2 * np.pi)
            pitch = np.radians(generator.uniform(-PITCH_DEG, PITCH_DEG))
            pose = look(place, heading, pitch)
            image = apply_effects(render(world, camera, pose).image_bgr, QUERY_EFFECTS, generator)
            yield _case(predictor, camera, pose, localizer.localize(image))
            count -= 1


def _queries(options: argparse.Namespace) -> Iterator[Case]:
    bundle = open_bundle(options.map)
    work = existing_work_folder(options.map)
    model = load_packed(work, bundle)
    predictor = _predictor(bundle, model.views)
    print("covariance before:", predictor.scale)
    if not options.as_poses:
        calibrate(predictor, options.map, model, open_any_store(work))
        print("covariance measured:", predictor.scale)
    reference = read_model(options.data / "reference")
    of_name = {image.name: image for image in reference.images}
    names = (options.data / "queries.txt").read_text().split()[:: options.every]
    for camera_id, camera in reference.cameras.items():
        with edge_reloc.open(options.map, camera=camera, threads=1) as localizer:
            for image in (of_name[name] for name in names):
                if image.camera_id == camera_id:
                    found = localizer.localize(options.data / "images" / image.name)
                    yield _case(predictor, camera, image.cam_from_world, found)


def _case(
    predictor: Predictor, camera: Camera, truth: np.ndarray, found: edge_reloc.Localization
) -> Case:
    error, claimed = (float("inf"), 180.0), float("inf")
    if found.cam_from_world is not None and found.covariance is not None:
        error = pose_error(found.cam_from_world, truth)
        claimed = float(np.sqrt(np.trace(found.covariance[3:, 3:])))
    right = error[0] <= RIGHT_M and error[1] <= RIGHT_DEG
    return Case(predictor.predict(camera, truth), right, found.inliers, error[0], claimed)


def _predictor(bundle: MapBundle, views: list[View]) -> Predictor:
    points = open_points(bundle)
    observations = Observations(views, points.xyz)
    integrity, again = bundle.manifest.integrity, refines(bundle.manifest)
    rate = learn_rate(observations)
    return Predictor(observations, points, rate, integrity, Gate(), refines=again)


def _demo() -> tuple[MapBundle, Camera, list[View]]:
    bundle, camera = open_bundle(DEMO / "map"), read_camera(DEMO / "camera.json")
    poses = {i.name: i.cam_from_world for i in read_model(DEMO / "truth").images}
    return bundle, camera, _shipped_views(bundle, camera, poses)


def _shipped_views(bundle: MapBundle, camera: Camera, poses: dict[str, np.ndarray]) -> list[View]:
    """Mapping photos of the demo, whose work folder is not shipped: poses from its truth."""
    xyz = np.asarray(bundle.array(layout.XYZ), np.float64)
    start, ids = bundle.array(layout.VIEW_START), bundle.array(layout.VIEW_POINT_ID)
    names = sorted(name for name in poses if name.startswith("map_"))
    views = []
    for row, name in enumerate(names):
        seen = np.asarray(ids[start[row] : start[row + 1]])
        pixels = camera.project(transform(poses[name], xyz[seen]))
        assert np.isfinite(pixels).all(), "the truth is another map's"
        views.append(
            View(
                name=name,
                camera=camera,
                cam_from_world=poses[name],
                xy_px=pixels.astype(np.float32),
                point_id=seen,
                keypoint=np.arange(len(seen), dtype=np.int32),
            )
        )
    return views


if __name__ == "__main__":
    main()
