"""The second pass against its definition, in a world with known poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.bundle.points import PointMap
from edge_reloc.features import FeatureSpec
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, pose_error, so3_exp, transform
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.guided import GuidedMatcher
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.pose.tracking import Tracker
from edge_reloc.running.fix import Fix
from edge_reloc.running.pose_filter import PoseFilter
from edge_reloc.settings import Gate
from edge_reloc.structs import Correspondences, Features

CAMERA = Camera(
    model="opencv",
    width=640,
    height=480,
    fx=520,
    fy=522,
    cx=321,
    cy=238,
    distortion=(-0.25, 0.08, 1e-3, -5e-4),
)
POINTS, KEYPOINTS, DIM = 3000, 1200, 32
NOISE_PX = 0.7
MIN_SIMILARITY = 0.7
WIDE_PX, CLOSE_PX = 20.0, 8.0
# 1200 keypoints with 0.7 px of noise at 2 to 6 m; a few times the expected error
TRANSLATION_TOLERANCE_M, ROTATION_TOLERANCE_DEG = 0.005, 0.05
TRUTH = compose(so3_exp([0.3, -0.5, 0.2]), [0.4, -0.2, 0.7])


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(seed: int = 0) -> tuple[PointMap, Features]:
    """Points that a camera at TRUTH sees, as many behind it, and its keypoints."""
    generator = np.random.default_rng(seed)
    xy = generator.uniform(0, [CAMERA.width - 1, CAMERA.height - 1], (POINTS, 2))
    depth = generator.uniform(2, 6, POINTS)
    rays = np.column_stack([CAMERA.rays_from_pixels(xy), np.ones(POINTS)])
    seen = rays * depth[:, None]
    xyz = transform(np.linalg.inv(TRUTH), np.concatenate([seen, -seen]))
    # Few distinct looks: descriptors alone would be ambiguous.
    looks = unit(generator.normal(size=(200, DIM)))
    descriptor = looks[generator.integers(0, 200, 2 * POINTS)]
    descriptor = unit(descriptor + 0.05 * generator.normal(size=descriptor.shape))
    cells = np.split(np.arange(2 * POINTS), 20)
    centre = np.array([xyz[cell].mean(axis=0) for cell in cells])
    radius = [np.linalg.norm(xyz[c] - m, axis=1).max() for c, m in zip(cells, centre, strict=True)]
    points = PointMap(
        xyz=xyz.astype(np.float32),
        descriptor=descriptor.astype(np.float16),
        cell_start=np.arange(21, dtype=np.int32) * (2 * POINTS // 20),
        cell_centre=centre.astype(np.float32),
        cell_radius=np.array(radius, np.float32) * 1.001,
    )
    features = Features(Arena(), KEYPOINTS, DIM, 0)
    features.n = KEYPOINTS
    source = generator.permutation(POINTS)[:KEYPOINTS]
    features.xy_px[:] = xy[source] + NOISE_PX * generator.normal(size=(KEYPOINTS, 2))
    noisy = descriptor[source] + 0.05 * generator.normal(size=(KEYPOINTS, DIM))
    features.descriptor[:] = unit(noisy)
    return points, features


def look(
    points: PointMap,
    features: Features,
    pose: np.ndarray,
    radius_px: float,
    camera: Camera = CAMERA,
) -> tuple[GuidedMatcher, Correspondences]:
    matcher = GuidedMatcher(points, min_similarity=MIN_SIMILARITY)
    out = Correspondences(Arena(), KEYPOINTS)
    matcher.match(camera, pose, features, radius_px, out)
    return matcher, out


def by_definition(
    points: PointMap, features: Features, pose: np.ndarray, radius_px: float
) -> set[tuple[int, int]]:
    """Best keypoint of each point within the radius, then best point of each keypoint."""
    xyz = transform(pose, points.xyz.astype(np.float64))
    xy = CAMERA.project(xyz)
    inside = (xy >= 0).all(axis=1) & (xy < [CAMERA.width, CAMERA.height]).all(axis=1)
    best: dict[int, tuple[float, int]] = {}
    for point in np.flatnonzero(inside):
        away = np.linalg.norm(features.xy_px - xy[point], axis=1)
        similarity = features.descriptor @ points.descriptor[point].astype(np.float32)
        similarity[(away > radius_px) | (similarity < MIN_SIMILARITY)] = -2
        keypoint = int(similarity.argmax())
        if similarity[keypoint] > best.get(keypoint, (-2.0, 0))[0]:
            best[keypoint] = (float(similarity[keypoint]), int(point))
    return {(keypoint, point) for keypoint, (_, point) in best.items()}


@pytest.mark.parametrize("radius_px", [WIDE_PX, CLOSE_PX])
def test_matches_equal_the_definition(radius_px: float) -> None:
    points, features = world()
    pose = compose(so3_exp([0.004, -0.006, 0.003]), [0.01, -0.01, 0.02]) @ TRUTH
    _, out = look(points, features, pose, radius_px)
    found = set(zip(out.keypoint[: out.n].tolist(), out.point_id[: out.n].tolist(), strict=True))
    expected = by_definition(points, features, pose, radius_px)
    assert len(expected) > 500
    assert found == expected
    assert (np.diff(out.weight[: out.n]) <= 0).all()
    np.testing.assert_array_equal(out.xyz_world[: out.n], points.xyz[out.point_id[: out.n]])
    np.testing.assert_array_equal(out.xy_px[: out.n], features.xy_px[out.keypoint[: out.n]])


@pytest.mark.parametrize("step", [0.0, 0.002, 0.01, 0.1, 3.0])
def test_looking_again_equals_looking_afresh(step: float) -> None:
    """Whether the pose moved so little that comparisons are reused, or further."""
    points, features = world()
    first = compose(so3_exp([0.004, -0.006, 0.003]), [0.01, -0.01, 0.02]) @ TRUTH
    second = compose(so3_exp([0.0, step, 0.2 * step]), [step, 0.0, -step]) @ first
    matcher, out = look(points, features, first, WIDE_PX)
    for pose, radius_px in ((second, CLOSE_PX), (first, WIDE_PX), (second, WIDE_PX)):
        matcher.match(CAMERA, pose, features, radius_px, out)
        again = set(zip(out.keypoint[: out.n], out.point_id[: out.n], strict=True))
        _, fresh = look(points, features, pose, radius_px)
        afresh = set(zip(fresh.keypoint[: fresh.n], fresh.point_id[: fresh.n], strict=True))
        # Points at the border may have come into the image meanwhile, or left it.
        assert len(again ^ afresh) <= 0.02 * len(afresh)


def test_a_pose_slightly_off_is_corrected() -> None:
    points, features = world()
    pose = compose(so3_exp([0.0, np.radians(1.0), 0.0]), [0.03, -0.03, 0.03]) @ TRUTH
    solver = PoseSolver(threshold_px=8.0, gate=Gate(), seed=0)
    for radius_px, narrowing in ((WIDE_PX, (2.4, 1.6, 1.0)), (CLOSE_PX, (1.0, 1.0))):
        _, matches = look(points, features, pose, radius_px)
        estimate = solver.refine(CAMERA, pose, matches, narrowing)
        assert estimate.cam_from_world is not None, estimate.reason
        pose = estimate.cam_from_world
    error = pose_error(pose, TRUTH)
    assert error.translation < TRANSLATION_TOLERANCE_M
    assert error.rotation_deg < ROTATION_TOLERANCE_DEG
    assert estimate.inliers > 0.9 * KEYPOINTS


def test_coverage_tells_the_whole_image_from_one_object() -> None:
    points, features = world()
    matcher, out = look(points, features, TRUTH, CLOSE_PX)
    inliers = out.xy_px[: out.n]
    assert matcher.coverage(CAMERA, features, inliers) > 0.95
    on_object = inliers[(np.abs(inliers - [320, 240]) < [110, 85]).all(axis=1)]
    assert len(on_object) > 100
    assert matcher.coverage(CAMERA, features, on_object) < 0.3


def test_a_pose_that_fits_one_object_only_is_covered_badly() -> None:
    """The object was carried elsewhere: a camera follows it, the room does not."""
    points, features = world()
    moved = compose(so3_exp([0.0, 0.4, 0.0]), [0.5, 0.3, -0.4])
    xy = CAMERA.project(transform(TRUTH, points.xyz[:POINTS].astype(np.float64)))
    on_object = np.flatnonzero((np.abs(xy - [320, 240]) < [75, 55]).all(axis=1))
    points.xyz[on_object] = transform(moved, points.xyz[on_object].astype(np.float64))
    pose = TRUTH @ np.linalg.inv(moved)
    solver = PoseSolver(threshold_px=8.0, gate=Gate(), seed=0)
    matcher, matches = look(points, features, pose, CLOSE_PX)
    estimate = solver.refine(CAMERA, pose, matches, (1.0, 1.0))
    assert estimate.inliers > 40 and estimate.inlier_index is not None
    inliers = matches.xy_px[estimate.inlier_index]
    assert (
        matcher.coverage(CAMERA, features, inliers) < FeatureSpec(kind="sift", dim=DIM).min_coverage
    )


def test_nothing_in_view_is_no_match() -> None:
    points, features = world()
    away = compose(np.eye(3), [0.0, 0.0, -500.0]) @ TRUTH  # both clouds behind the camera
    matcher, out = look(points, features, away, WIDE_PX)
    assert out.n == 0
    assert matcher.coverage(CAMERA, features, features.xy_px) == 1.0  # nothing to judge
    features.n = 0
    _, out = look(points, features, TRUTH, WIDE_PX)
    assert out.n == 0


def test_a_lens_does_not_fold_far_points_into_the_image() -> None:
    """Beyond its field of view the barrel model turns back to the centre."""
    barrel = replace(CAMERA, fx=700, fy=700, distortion=(-0.3,))
    folded = np.array([[1.8, 0.0, 1.0]])
    assert np.linalg.norm(barrel.project(folded) - [320, 240]) < 100
    points, features = world()
    points.xyz[:] = transform(np.linalg.inv(TRUTH), folded)
    points.cell_centre[:] = points.xyz[0]  # whose spheres still reach into the view
    _, out = look(points, features, TRUTH, WIDE_PX, barrel)
    assert out.n == 0


def test_frames_of_ten_hertz_are_looked_for_closely() -> None:
    """As far ahead as a live stream's next frame is, and not after half a second."""
    std = np.array([0.003, 0.003, 0.003, 0.01, 0.01, 0.01])
    fixes = [
        Fix(t_ns=n * 100_000_000, cam_from_world=np.eye(4), covariance=np.diag(std**2))
        for n in range(6)
    ]
    track, tracker = PoseFilter(fixes[0]), Tracker()
    assert all(track.add(fix) for fix in fixes[1:])
    for ahead_s, close in ((0.1, True), (0.5, False)):
        expected = track.at(fixes[-1].t_ns + round(ahead_s * 1e9))
        tracker.expect(expected.t_ns, expected.cam_from_world, expected.covariance)
        predicted = tracker.predict(expected.t_ns)
        assert predicted is not None and predicted.is_close(CAMERA) is close
