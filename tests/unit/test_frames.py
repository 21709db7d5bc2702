"""Axes of receivers: one hand-made case for each axis and sign, and Monte Carlo."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import pytest

from edge_reloc.geometry.frames import (
    FRD_FROM_FLU,
    FRD_FROM_LEVEL,
    MOUNTS,
    NED_FROM_ENU,
    OPENXR_FROM_CAMERA,
    OPENXR_FROM_LEVEL,
    Placed,
    level_from_world,
    place,
    roll_pitch_yaw,
    upper_triangle,
)
from edge_reloc.geometry.rigid import compose, invert, rotation_vector, so3_exp

EAST, NORTH, UP = np.eye(3)
FORWARD, LEFT, BODY_UP = np.eye(3)
RIGHT_PX, DOWN_PX, AHEAD = np.eye(3)


def looking(forward: np.ndarray, down: np.ndarray, xyz: np.ndarray) -> np.ndarray:
    """cam_from_world of a camera in an ENU world."""
    world_from_cam = np.column_stack([np.cross(down, forward), down, forward])
    return invert(compose(world_from_cam, xyz))


@pytest.mark.parametrize(
    ("axes", "old", "new"),
    [
        (NED_FROM_ENU, EAST, [0, 1, 0]),
        (NED_FROM_ENU, NORTH, [1, 0, 0]),
        (NED_FROM_ENU, UP, [0, 0, -1]),
        (FRD_FROM_FLU, FORWARD, [1, 0, 0]),
        (FRD_FROM_FLU, LEFT, [0, -1, 0]),
        (FRD_FROM_FLU, BODY_UP, [0, 0, -1]),
        (FRD_FROM_LEVEL, EAST, [1, 0, 0]),
        (FRD_FROM_LEVEL, UP, [0, 0, -1]),
        (OPENXR_FROM_LEVEL, EAST, [1, 0, 0]),
        (OPENXR_FROM_LEVEL, NORTH, [0, 0, -1]),
        (OPENXR_FROM_LEVEL, UP, [0, 1, 0]),
        (OPENXR_FROM_CAMERA, RIGHT_PX, [1, 0, 0]),
        (OPENXR_FROM_CAMERA, DOWN_PX, [0, -1, 0]),
        (OPENXR_FROM_CAMERA, AHEAD, [0, 0, -1]),
        (MOUNTS["front"][:3, :3], RIGHT_PX, -LEFT),
        (MOUNTS["front"][:3, :3], DOWN_PX, -BODY_UP),
        (MOUNTS["front"][:3, :3], AHEAD, FORWARD),
        (MOUNTS["nadir"][:3, :3], RIGHT_PX, -LEFT),
        (MOUNTS["nadir"][:3, :3], DOWN_PX, -FORWARD),
        (MOUNTS["nadir"][:3, :3], AHEAD, -BODY_UP),
    ],
)
def test_each_axis(axes: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
    np.testing.assert_allclose(axes @ old, new)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_a_drone_that_flies_east_with_a_camera_ahead() -> None:
    pose = looking(EAST, -UP, np.array([3.0, 4.0, 5.0]))
    flu = place(pose, np.eye(6), MOUNTS["front"])
    np.testing.assert_allclose(flu.xyz, [3, 4, 5])
    np.testing.assert_allclose(flu.rotation, np.eye(3), atol=1e-12)
    frd = flu.in_axes(NED_FROM_ENU, FRD_FROM_FLU)
    np.testing.assert_allclose(frd.xyz, [4, 3, -5])
    np.testing.assert_allclose(roll_pitch_yaw(frd.rotation), [0, 0, pi / 2], atol=1e-12)


def test_a_nadir_camera_of_a_drone_that_flies_north() -> None:
    pose = looking(-UP, -NORTH, np.array([0.0, 0.0, 40.0]))
    frd = place(pose, np.eye(6), MOUNTS["nadir"]).in_axes(NED_FROM_ENU, FRD_FROM_FLU)
    np.testing.assert_allclose(frd.rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frd.xyz, [0, 0, -40])


@pytest.mark.parametrize(
    ("angles", "sign"),
    [((0.1, 0, 0), "right wing down"), ((0, 0.1, 0), "nose up"), ((0, 0, 0.1), "nose right")],
)
def test_signs_of_roll_pitch_and_yaw_in_ned(angles: tuple[float, ...], sign: str) -> None:
    """Of a body that looks north: what each angle does to its forward and right axes."""
    roll, pitch, yaw = angles
    forward = {
        "right wing down": [1, 0, 0],
        "nose up": [cos(0.1), 0, -sin(0.1)],
        "nose right": [cos(0.1), sin(0.1), 0],
    }[sign]
    right = {
        "right wing down": [0, cos(0.1), sin(0.1)],
        "nose up": [0, 1, 0],
        "nose right": [-sin(0.1), cos(0.1), 0],
    }[sign]
    rotation = np.column_stack([forward, right, np.cross(forward, right)])
    np.testing.assert_allclose(roll_pitch_yaw(rotation), [roll, pitch, yaw], atol=1e-12)


def test_the_lever_arm() -> None:
    """A camera half a metre ahead of a body that looks north is half a metre north of it."""
    mount = MOUNTS["front"].copy()
    mount[:3, 3] = [0.5, 0.0, -0.1]
    pose = looking(NORTH, -UP, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(place(pose, np.eye(6), mount).xyz, [1.0, 1.5, 3.1])


@pytest.mark.parametrize("axis", range(6))
def test_covariance_of_each_axis(axis: int) -> None:
    """A camera that looks east: its right is south, its down is down, ahead is east."""
    covariance = np.zeros((6, 6))
    covariance[axis, axis] = 1.0
    frd = place(looking(EAST, -UP, np.zeros(3)), covariance).in_axes(NED_FROM_ENU, np.eye(3))
    expected = np.zeros((6, 6))
    north_east_down = {0: 0, 1: 2, 2: 1}[axis % 3]
    row = north_east_down if axis >= 3 else 3 + north_east_down
    expected[row, row] = 1.0
    np.testing.assert_allclose(frd.covariance, expected, atol=1e-12)


def test_covariances_are_true_by_monte_carlo() -> None:
    """Normalised errors of draws, for every receiver's axes and both ways to say a rotation."""
    random = np.random.default_rng(4)
    root = random.normal(size=(6, 6)) * np.array([[1e-4] * 3 + [5e-4] * 3]).T
    covariance, draws = root @ root.T, 1000
    mount = compose(so3_exp([0.4, -1.1, 0.7]), [0.6, -0.3, 0.2])
    pose = compose(so3_exp([-0.5, 0.3, 1.2]), [2.0, -1.0, 4.0])
    for world, body in ((NED_FROM_ENU, FRD_FROM_FLU), (OPENXR_FROM_LEVEL, OPENXR_FROM_CAMERA)):
        said = place(pose, covariance, mount).in_axes(world, body)
        fixed, euler = np.empty(draws), np.empty(draws)
        for i in range(draws):
            delta = root @ random.normal(size=6)
            true = compose(so3_exp(delta[:3]), delta[3:]) @ pose
            truth = place(true, covariance, mount).in_axes(world, body)
            moved = truth.xyz - said.xyz
            turned = rotation_vector(truth.rotation @ said.rotation.T)
            angles = np.subtract(roll_pitch_yaw(truth.rotation), roll_pitch_yaw(said.rotation))
            fixed[i] = _normalised(np.r_[moved, turned], said.covariance)
            euler[i] = _normalised(np.r_[moved, angles], said.euler_covariance())
        bound = 1.96 * np.sqrt(2 * 6 / draws)  # 95 % of means of chi-square of six
        assert abs(fixed.mean() - 6.0) < bound
        assert abs(euler.mean() - 6.0) < bound


def _normalised(error: np.ndarray, covariance: np.ndarray) -> float:
    return float(error @ np.linalg.solve(covariance, error))


@pytest.mark.parametrize("down", [(0, 0, -1), (0, 0, 1), (0, 1, 0), (0.6, 0.0, -0.8)])
def test_level_worlds(down: tuple[float, float, float]) -> None:
    level = level_from_world(down)
    np.testing.assert_allclose(level @ down, [0, 0, -1], atol=1e-12)
    assert np.linalg.det(level) == pytest.approx(1.0)
    if down == (0, 0, -1):
        np.testing.assert_array_equal(level, np.eye(3))


def test_straight_down_the_yaw_is_very_uncertain_but_finite() -> None:
    world_from_body = compose([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.zeros(3))
    said = Placed(world_from_body=world_from_body, covariance=np.eye(6) * 1e-6)
    variances = np.diag(said.euler_covariance())
    assert np.isfinite(variances).all() and variances[5] > 0.1


def test_upper_triangle() -> None:
    covariance = np.arange(36.0).reshape(6, 6)
    triangle = upper_triangle(covariance)
    assert len(triangle) == 21
    assert [triangle[i] for i in (0, 6, 11, 15, 18, 20)] == list(np.diag(covariance))
