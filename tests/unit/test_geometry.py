"""Rigid transforms: each formula against its definition, and at its edges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_reloc.geometry.rigid import (
    camera_centre,
    compose,
    hat,
    invert,
    pose_error,
    quat_from_rotation,
    rotation_angle_rad,
    rotation_from_quat,
    so3_exp,
    transform,
)

ROUNDING = 1e-12  # a few operations in float64 on numbers around one

ANGLES_RAD = (0.0, 1e-12, 1e-9, 1e-8, 1e-6, 0.01, 1.0, 3.0, np.pi - 1e-6, np.pi - 1e-9, np.pi)


def axes(count: int = 12) -> list[np.ndarray]:
    """Unit vectors, the coordinate axes first."""
    random = np.random.default_rng(0).normal(size=(count, 3))
    both = np.concatenate([np.eye(3), -np.eye(3), random])
    return list(both / np.linalg.norm(both, axis=1, keepdims=True))


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return compose(so3_exp(rng.normal(size=3)), rng.normal(size=3) * 10)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_exponential_is_a_rotation_and_agrees_with_opencv(angle_rad: float) -> None:
    for axis in axes():
        rotation = so3_exp(axis * angle_rad)
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=ROUNDING)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
        assert np.allclose(rotation, cv2.Rodrigues(axis * angle_rad)[0], atol=1e-11)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_angle_is_exact_near_zero_and_near_pi(angle_rad: float) -> None:
    for axis in axes():
        found = rotation_angle_rad(so3_exp(axis * angle_rad))
        assert found == pytest.approx(angle_rad, abs=1e-14, rel=1e-7)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_quaternion_round_trip(angle_rad: float) -> None:
    for axis in axes():
        rotation = so3_exp(axis * angle_rad)
        quat_wxyz = quat_from_rotation(rotation)
        assert quat_wxyz[0] >= 0
        assert np.linalg.norm(quat_wxyz) == pytest.approx(1.0)
        assert np.allclose(rotation_from_quat(quat_wxyz), rotation, atol=ROUNDING)
        expected = np.concatenate([[np.cos(angle_rad / 2)], np.sin(angle_rad / 2) * axis])
        assert min(
            np.abs(quat_wxyz - expected).max(), np.abs(quat_wxyz + expected).max()
        ) == pytest.approx(0, abs=1e-9)


def test_quaternions_of_any_norm_and_sign_are_one_rotation() -> None:
    quat_wxyz = np.array([0.5, -0.1, 0.7, 0.2])
    assert np.allclose(rotation_from_quat(quat_wxyz), rotation_from_quat(-3 * quat_wxyz))


def test_hat_is_the_cross_product() -> None:
    a, b = np.array([1.0, -2, 3]), np.array([0.5, 4, -1])
    assert np.allclose(hat(a) @ b, np.cross(a, b))


def test_exponential_derivative_is_the_hat() -> None:
    """The left perturbation that solver and covariance rely on."""
    x, w = np.array([1.0, 2, 3]), np.array([1e-7, -2e-7, 3e-7])
    assert np.allclose(so3_exp(w) @ x - x, np.cross(w, x), atol=1e-12)


def test_inverse_undoes() -> None:
    for seed in range(5):
        a_from_b = random_pose(seed)
        assert np.allclose(invert(a_from_b) @ a_from_b, np.eye(4), atol=ROUNDING * 10)
        assert np.allclose(invert(a_from_b), np.linalg.inv(a_from_b))


def test_transform_chains_like_the_matrices() -> None:
    a_from_b, b_from_c = random_pose(1), random_pose(2)
    xyz_c = np.random.default_rng(3).normal(size=(20, 3))
    chained = transform(a_from_b, transform(b_from_c, xyz_c))
    assert np.allclose(chained, transform(a_from_b @ b_from_c, xyz_c))
    assert transform(a_from_b, np.zeros((0, 3))).shape == (0, 3)


def test_camera_centre_maps_to_the_origin() -> None:
    cam_from_world = random_pose(4)
    centre = camera_centre(cam_from_world)
    assert np.allclose(transform(cam_from_world, centre[None]), 0, atol=ROUNDING * 100)


def test_pose_error_measures_centres_and_angles() -> None:
    cam_from_world = random_pose(5)
    assert pose_error(cam_from_world, cam_from_world) == pytest.approx((0, 0), abs=1e-9)
    # the camera moved by (3, 4, 0) in the world, without turning
    shift = compose(np.eye(3), [-3.0, -4.0, 0.0])
    moved = pose_error(cam_from_world @ shift, cam_from_world)
    assert moved.translation == pytest.approx(5.0)
    assert moved.rotation_deg == pytest.approx(0.0, abs=1e-9)
    # the camera turned by 10 degrees about its own centre
    turn = compose(so3_exp(np.radians([0, 10.0, 0])), np.zeros(3))
    turned = pose_error(turn @ cam_from_world, cam_from_world)
    assert turned.translation == pytest.approx(0.0, abs=1e-9)
    assert turned.rotation_deg == pytest.approx(10.0)
