"""Rigid transforms as 4x4 float64 `a_from_b`: X_a = a_from_b @ X_b."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Array as Array  # also for those who take it from here
from ..arrays import finite_numbers

FARTHEST = 1e9  # map units that anything is from an origin, as in map bundles
ORTHOGONAL = 1e-6  # what a rotation may be off by, written with as many digits
SKEWED = 0.02  # what a rotation in few digits, or of a sensor's own arithmetic, may be off by
RIGID = (
    f"four rows of four numbers: a rotation (to {ORTHOGONAL:g}), a translation, and 0 0 0 1 as "
    f"the last row"
)
LENGTHS = 1e-6, 1e6  # of a quaternion or a direction before it is made a unit one


def compose(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """4x4 `a_from_b` of a (3,3) rotation and a (3,) translation in metres."""
    a_from_b = np.eye(4)
    a_from_b[:3, :3] = rotation
    a_from_b[:3, 3] = translation
    return a_from_b


def rigid(rows: Any) -> Array | None:
    """4x4 of what should be a rigid transform written as RIGID says; None if it is none."""
    return _rigid(rows, ORTHOGONAL)


def motion(value: Any) -> Array | None:
    """(4,4) of what a sensor tells of its motion; None for what is none, such as nan."""
    return _rigid(value, SKEWED)


def _rigid(value: Any, off: float) -> Array | None:
    """(4,4) whose rotation is off by less than `off`; None for anything else."""
    told = finite_numbers(value, (4, 4))
    if told is None or np.abs(told).max() > FARTHEST or (told[3] != [0, 0, 0, 1]).any():
        return None
    rotation = told[:3, :3]
    turns = np.abs(rotation @ rotation.T - np.eye(3)).max() < off and np.linalg.det(rotation) > 0
    return told if turns else None


def direction(value: Any) -> Array | None:
    """(3,) of unit length, of what a sensor tells; None for what points nowhere."""
    return _unit(value, 3)


def quaternion(values: ArrayLike) -> Array | None:
    """(4,) of unit length, of four numbers that a file gives for a rotation; None for none."""
    return _unit(values, 4)


def _unit(value: Any, count: int) -> Array | None:
    """(count,) of unit length; None for other shapes and for lengths that no rounding explains.

    Such a vector has no direction left, or its square is beyond what a float holds.
    """
    told = finite_numbers(value, (count,))
    if told is None or not LENGTHS[0] < np.abs(told).max() < LENGTHS[1]:
        return None
    return np.asarray(told / np.linalg.norm(told))


def invert(a_from_b: Array) -> Array:
    """`b_from_a` of a rigid `a_from_b`."""
    rotation = a_from_b[:3, :3].T
    return compose(rotation, -rotation @ a_from_b[:3, 3])


def transform(a_from_b: Array, xyz_b: Array) -> Array:
    """Points (N,3) of frame b in frame a."""
    return np.asarray(xyz_b @ a_from_b[:3, :3].T + a_from_b[:3, 3])


def camera_centre(cam_from_world: Array) -> Array:
    """Position (3,) of the camera in the world, metres."""
    centre: Array = -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
    return centre


def hat(v: ArrayLike) -> Array:
    """Cross-product matrix: hat(v) @ x = v x x."""
    x, y, z = np.asarray(v, dtype=np.float64)
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def so3_exp(rotation_rad: ArrayLike) -> Array:
    """Rotation matrix (3,3) of a rotation vector (3,) in radians."""
    w = np.asarray(rotation_rad, dtype=np.float64)
    angle = float(np.linalg.norm(w))
    k = hat(w)
    if angle < 1e-8:
        return np.eye(3) + k + 0.5 * k @ k
    sine, versine = np.sin(angle) / angle, (1.0 - np.cos(angle)) / angle**2
    return np.asarray(np.eye(3) + sine * k + versine * (k @ k))


def rotation_vector(rotation: Array) -> Array:
    """Axis times angle (3,), radians, of a rotation (3,3); inverse of `so3_exp`."""
    return np.asarray(cv2.Rodrigues(np.ascontiguousarray(rotation))[0].ravel())


def rotation_between(first: Array, second: Array, share: float) -> Array:
    """(3,3) on the shortest turn from one rotation to another; share: 0 to 1 of it."""
    return np.asarray(first @ so3_exp(share * rotation_vector(first.T @ second)))


def rotation_angle_rad(rotation: Array) -> float:
    """Angle of a (3,3) rotation, exact near 0 and near pi."""
    sine = np.linalg.norm(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    return float(np.arctan2(sine, np.trace(rotation) - 1.0))


def rotation_from_quat(quat_wxyz: ArrayLike) -> Array:
    """(3,3) rotation of a quaternion (4,) wxyz of any norm above zero."""
    q = np.asarray(quat_wxyz, dtype=np.float64)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quat_from_rotation(rotation: Array) -> Array:
    """Quaternion (4,) wxyz with w >= 0 of a (3,3) rotation."""
    m = rotation
    # The largest of the four squared components is the well-conditioned one.
    squares = np.array(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    i = int(np.argmax(squares))
    s = 0.5 / np.sqrt(squares[i])
    wx, wy, wz = (m[2, 1] - m[1, 2]) * s, (m[0, 2] - m[2, 0]) * s, (m[1, 0] - m[0, 1]) * s
    xy, xz, yz = (m[0, 1] + m[1, 0]) * s, (m[0, 2] + m[2, 0]) * s, (m[1, 2] + m[2, 1]) * s
    big = 0.25 / s
    q = np.array([[big, wx, wy, wz], [wx, big, xy, xz], [wy, xy, big, yz], [wz, xz, yz, big]][i])
    return q if q[0] >= 0 else -q


class PoseError(NamedTuple):
    """How far an estimated pose lies from the reference."""

    #: Between the camera centres, in map units (metres if metric).
    translation: float
    rotation_deg: float


def pose_error(cam_from_world: Array, reference: Array) -> PoseError:
    """Distance of the camera centres and angle between the orientations."""
    return PoseError(
        float(np.linalg.norm(camera_centre(cam_from_world) - camera_centre(reference))),
        float(np.degrees(rotation_angle_rad(cam_from_world[:3, :3] @ reference[:3, :3].T))),
    )


NORMALISED_95 = 12.592  # what 95 % stay below: chi square of six degrees of freedom


def normalised_error(cam_from_world: Array, covariance: Array, reference: Array) -> float:
    """Squared error of a pose in units of its covariance (6,6).

    Chi-square of six degrees of freedom if the covariance tells the truth.
    """
    delta = error_vector(cam_from_world, reference)
    return float(delta @ np.linalg.solve(covariance, delta))


def error_vector(cam_from_world: Array, reference: Array) -> Array:
    """`delta` (6,) of `reference = Exp(delta) @ cam_from_world`: rotation in radians, translation.

    In the camera's axes, as a pose's covariance is.
    """
    error = reference @ invert(cam_from_world)
    return np.concatenate([rotation_vector(error[:3, :3]), error[:3, 3]])
