"""Pose estimation against synthetic truth: known pose in, error out."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, normalised_error, pose_error, so3_exp, transform
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.point_noise import PointNoise
from edge_reloc.pose.refine import refine_pose
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.settings import Gate
from edge_reloc.structs import Correspondences, PoseEstimate, Status

CAMERAS = {
    "pinhole": Camera(model="pinhole", width=640, height=480, fx=520, fy=522, cx=321, cy=238),
    "opencv": Camera(
        model="opencv",
        width=640,
        height=480,
        fx=520,
        fy=522,
        cx=321,
        cy=238,
        distortion=(-0.25, 0.08, 1e-3, -5e-4),
    ),
    "fisheye": Camera(
        model="fisheye",
        width=640,
        height=480,
        fx=300,
        fy=300,
        cx=320,
        cy=240,
        distortion=(-0.01, 0.004, -0.002, 0.0),
    ),
}
NOISE_PX = 0.5
TRANSLATION_TOLERANCE_M = 0.01  # 500 points at 2 to 6 m, half a pixel of noise
ROTATION_TOLERANCE_DEG = 0.1


def scene(
    camera: Camera, seed: int, points: int = 500, outliers: float = 0.0
) -> tuple[np.ndarray, Correspondences]:
    """A pose, and matches of points that it sees, some of them wrong."""
    generator = np.random.default_rng(seed)
    cam_from_world = compose(so3_exp(generator.normal(size=3)), generator.uniform(-2, 2, 3))
    xy = generator.uniform([10, 10], [camera.width - 10, camera.height - 10], (points, 2))
    depth = generator.uniform(2, 6, points)
    rays = np.column_stack([camera.rays_from_pixels(xy), np.ones(points)])
    world_from_cam = np.linalg.inv(cam_from_world)
    xyz = transform(world_from_cam, rays * depth[:, None])
    xy = xy + generator.normal(size=xy.shape) * NOISE_PX
    wrong = generator.random(points) < outliers
    xy[wrong] = generator.uniform([0, 0], [camera.width, camera.height], (wrong.sum(), 2))
    out = Correspondences(Arena(), points)
    out.n = points
    out.xy_px[:], out.xyz_world[:], out.weight[:] = xy, xyz, 1.0
    return cam_from_world, out


def solve(camera: Camera, matches: Correspondences) -> PoseEstimate:
    return PoseSolver(threshold_px=8.0, gate=Gate(), seed=0).solve(camera, matches)


@pytest.mark.parametrize("model", CAMERAS)
@pytest.mark.parametrize("outliers", [0.0, 0.7])
def test_pose_is_found_among_outliers(model: str, outliers: float) -> None:
    truth, matches = scene(CAMERAS[model], seed=3, outliers=outliers)
    estimate = solve(CAMERAS[model], matches)
    assert estimate.status is Status.OK, estimate.reason
    assert estimate.cam_from_world is not None
    error = pose_error(estimate.cam_from_world, truth)
    assert error.translation < TRANSLATION_TOLERANCE_M
    assert error.rotation_deg < ROTATION_TOLERANCE_DEG


def normalised_errors(shared_px: float) -> list[float]:
    """Of 60 poses from 150 points whose neighbours share an error: squares of 6 numbers each."""
    camera = CAMERAS["opencv"]
    squares = []
    for seed in range(60):
        truth, matches = scene(camera, seed=seed, points=150)
        x, y = (matches.xy_px / [camera.width / 4, camera.height / 4]).astype(int).clip(0, 3).T
        shared = np.random.default_rng(seed).normal(size=(4, 4, 2)) * shared_px
        estimate = refine_pose(
            camera, truth, matches.xy_px + shared[y, x], matches.xyz_world, scale_px=(10.0, 10.0)
        )
        assert estimate is not None
        squares.append(normalised_error(estimate.cam_from_world, estimate.covariance, truth))
    return squares


def test_points_count_by_how_well_they_are_known() -> None:
    """Half of them are off along a ray that the camera sees from the side, and known to be."""
    camera, count = CAMERAS["opencv"], 150
    rng = np.random.default_rng(5)
    squares, errors = [], {"known": [], "alike": []}
    for seed in range(60):
        truth, matches = scene(camera, seed=seed, points=count)
        xyz, direction = matches.xyz_world, rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        along = np.where(np.arange(count) % 2 == 1, 0.2, 0.0)
        off = xyz + (along * rng.normal(size=count))[:, None] * direction
        noise = PointNoise(np.zeros(count), along**2, direction.T)
        known = refine_pose(camera, truth, matches.xy_px, off, noise=noise, scale_px=(30.0, 30.0))
        alike = refine_pose(camera, truth, matches.xy_px, off, scale_px=(30.0, 30.0))
        assert known is not None and alike is not None
        squares.append(normalised_error(known.cam_from_world, known.covariance, truth))
        errors["known"].append(pose_error(known.cam_from_world, truth).translation)
        errors["alike"].append(pose_error(alike.cam_from_world, truth).translation)
    assert np.median(errors["known"]) < 0.6 * np.median(errors["alike"])
    # Keypoints are taken for as noisy as all residuals together: on the careful side of 6.
    assert 2.5 < np.mean(squares) < 6.5


def test_covariance_is_honest() -> None:
    """Normalised errors of many runs average to 6 (degrees of freedom)."""
    # Mean of 60 chi-square(6) values: 6 with a standard deviation of 0.45.
    assert 4.5 < np.mean(normalised_errors(0.0)) < 7.5


def test_covariance_allows_for_errors_that_neighbours_share() -> None:
    """Were they taken for independent, the mean would be about 40."""
    assert 4.0 < np.mean(normalised_errors(1.0)) < 9.0


def test_matches_count_by_how_far_they_are_trusted() -> None:
    """Half of the matches are eight times as noisy, and known to be."""
    camera = CAMERAS["opencv"]
    noisy = np.arange(150) % 2 == 1
    trust = np.where(noisy, 1.0, 64.0)
    squares, errors = [], {"trusted": [], "alike": []}
    for seed in range(60):
        truth, matches = scene(camera, seed=seed, points=150)
        noise = np.random.default_rng(seed).normal(size=(150, 2)) * 8 * NOISE_PX
        xy, xyz = matches.xy_px + noise * noisy[:, None], matches.xyz_world
        estimate = refine_pose(camera, truth, xy, xyz, trust=trust, scale_px=(30.0, 30.0))
        alike = refine_pose(camera, truth, xy, xyz, scale_px=(30.0, 30.0))
        assert estimate is not None and alike is not None
        squares.append(normalised_error(estimate.cam_from_world, estimate.covariance, truth))
        errors["trusted"].append(pose_error(estimate.cam_from_world, truth).translation)
        errors["alike"].append(pose_error(alike.cam_from_world, truth).translation)
    assert np.median(errors["trusted"]) < 0.5 * np.median(errors["alike"])
    assert 4.5 < np.mean(squares) < 7.5


def test_random_matches_give_no_pose() -> None:
    """Chance must not pass the gate, whatever the number of matches."""
    for seed in range(20):
        _, matches = scene(CAMERAS["pinhole"], seed=seed, points=400, outliers=1.0)
        estimate = solve(CAMERAS["pinhole"], matches)
        assert estimate.status is not Status.OK
        assert estimate.cam_from_world is None and estimate.reason


def test_clumped_inliers_are_refused() -> None:
    camera = CAMERAS["pinhole"]
    _, matches = scene(camera, seed=1, points=2000)
    inside = np.flatnonzero((np.abs(matches.xy_px - [320, 240]) < 40).all(axis=1))
    m = matches.n = len(inside)
    matches.xy_px[:m], matches.xyz_world[:m] = matches.xy_px[inside], matches.xyz_world[inside]
    centred = PoseSolver(threshold_px=8.0, gate=Gate(min_spread=5), seed=0)
    estimate = centred.solve(camera, matches)
    assert estimate.status is Status.IMPLAUSIBLE
    assert "spot" in (estimate.reason or "")


def test_few_matches_say_so() -> None:
    _, matches = scene(CAMERAS["pinhole"], seed=1, points=8)
    estimate = solve(CAMERAS["pinhole"], matches)
    assert estimate.status is Status.NO_MATCHES
    assert "8 matches" in (estimate.reason or "")


def test_same_matches_same_pose() -> None:
    _, matches = scene(CAMERAS["pinhole"], seed=5, outliers=0.6)
    first, second = solve(CAMERAS["pinhole"], matches), solve(CAMERAS["pinhole"], matches)
    assert first.cam_from_world is not None and second.cam_from_world is not None
    np.testing.assert_array_equal(first.cam_from_world, second.cam_from_world)


def test_points_behind_the_camera_do_not_raise() -> None:
    _, matches = scene(CAMERAS["pinhole"], seed=5)
    matches.xyz_world[::3] *= -50
    assert solve(CAMERAS["pinhole"], matches).status in set(Status)
