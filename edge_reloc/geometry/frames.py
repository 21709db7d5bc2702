"""Poses and covariances in the axes of whoever receives them: the only place where axes change.

Inside, a pose is `cam_from_world` with a covariance of [rotation, translation], left
perturbation `true = Exp(delta) @ cam_from_world`. Receivers want where a body is in a level
world, and a covariance of [x y z, rotation about the world's axes]: `place`. `Placed.in_axes`
then names other axes for both.

Axes, as x y z: camera right, down, forward. ENU: east, north, up (REP 103). NED: north, east,
down. FLU: forward, left, up (the body, REP 103). FRD: forward, right, down (the body of
autopilots). OpenXR: right, up, back (of views and of worlds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arrays import F64
from .rigid import compose, hat, invert, so3_exp

NED_FROM_ENU = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FRD_FROM_FLU = np.diag([1.0, -1.0, -1.0])
#: of a level world whose north nobody knows: x stays, z points down
FRD_FROM_LEVEL = FRD_FROM_FLU
#: of a world whose z points up; x stays
OPENXR_FROM_LEVEL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
OPENXR_FROM_CAMERA = np.diag([1.0, -1.0, -1.0])
OPENXR_FROM_FLU = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])

#: body (forward, left, up) from a camera that is mounted so, (4,4) without a lever arm
MOUNTS: dict[str, F64] = {
    # looks ahead, upright
    "front": compose([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], np.zeros(3)),
    # looks down; the image's top is ahead
    "nadir": compose([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]], np.zeros(3)),
}
UPPER = np.triu_indices(6)
LEAST_COSINE = 1e-3  # of the pitch: straight up or down, roll and yaw are one and the same


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Placed:
    """Where a body is in a world."""

    #: (4,4)
    world_from_body: F64
    #: (6,6) of [x y z, rotation rad about the world's axes]:
    #: the true position is x + d, the true rotation Exp(w) @ R
    covariance: F64

    @property
    def xyz(self) -> F64:
        """Position (3,)."""
        return self.world_from_body[:3, 3]

    @property
    def rotation(self) -> F64:
        """(3,3) body to world."""
        return self.world_from_body[:3, :3]

    def in_axes(self, world: NDArray[np.float64], body: NDArray[np.float64]) -> Placed:
        """The same in other axes; rotations (3,3) new from old, of the world and of the body."""
        both = _twice(world)
        return Placed(
            world_from_body=compose(world @ self.rotation @ body.T, world @ self.xyz),
            covariance=both @ self.covariance @ both.T,
        )

    def euler_covariance(self) -> F64:
        """(6,6) of [x y z, roll pitch yaw] as `roll_pitch_yaw`.

        Straight up and down these have no answer; there, roll and yaw are as uncertain as
        LEAST_COSINE lets them be.
        """
        jacobian = np.eye(6)
        jacobian[3:, 3:] = np.linalg.inv(_rotation_of_angles(self.rotation))
        return np.asarray(jacobian @ self.covariance @ jacobian.T)


def place(cam_from_world: F64, covariance: F64, body_from_cam: F64 | None = None) -> Placed:
    """The body of a camera in the world, by the adjoint of its mount.

    covariance (6,6) of `true = Exp(delta) @ cam_from_world`. body_from_cam (4,4), with the lever
    arm; None: the body is the camera.
    """
    mount = np.eye(4) if body_from_cam is None else body_from_cam
    world_from_body = invert(mount @ cam_from_world)
    # mount Exp(delta) = Exp(adjoint delta) mount, and the inverse has -delta on its right
    adjoint = _twice(mount[:3, :3])
    adjoint[3:, :3] = hat(mount[:3, 3]) @ mount[:3, :3]
    rotation = world_from_body[:3, :3]
    to_world = np.zeros((6, 6))
    to_world[:3, 3:] = to_world[3:, :3] = -rotation
    jacobian = to_world @ adjoint
    return Placed(world_from_body=world_from_body, covariance=jacobian @ covariance @ jacobian.T)


def level_from_world(gravity: tuple[float, float, float] | F64) -> F64:
    """Rotation (3,3) that makes z point up, turning no more than it must.

    gravity (3,): down in the world. The identity for worlds that are level already.
    """
    up = -np.asarray(gravity, np.float64)
    up = up / np.linalg.norm(up)
    axis, cosine = np.cross(up, [0.0, 0.0, 1.0]), up[2]
    if cosine < -1.0 + 1e-12:  # upside down: about x
        return np.diag([1.0, -1.0, -1.0])
    k = hat(axis)
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + cosine))


def roll_pitch_yaw(rotation: F64) -> tuple[float, float, float]:
    """Radians of rotation (3,3) = Rz(yaw) Ry(pitch) Rx(roll)."""
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return float(roll), float(pitch), float(yaw)


def rotation_of_angles(roll: float, pitch: float, yaw: float) -> F64:
    """(3,3) of radians, inverse of `roll_pitch_yaw`."""
    z, y, x = so3_exp([0, 0, yaw]), so3_exp([0, pitch, 0]), so3_exp([roll, 0, 0])
    return np.asarray(z @ y @ x)


def upper_triangle(covariance: F64) -> list[float]:
    """21 numbers of a (6,6), row by row from the diagonal on, as MAVLink has them."""
    return [float(value) for value in covariance[UPPER]]


def _rotation_of_angles(rotation: F64) -> F64:
    """(3,3) rotation about the world's axes by small changes of roll, pitch and yaw."""
    _, pitch, yaw = roll_pitch_yaw(rotation)
    cosine = max(np.cos(pitch), LEAST_COSINE)
    roll_axis = [np.cos(yaw) * cosine, np.sin(yaw) * cosine, -np.sin(pitch)]
    return np.column_stack([roll_axis, [-np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])


def _twice(rotation: NDArray[np.float64]) -> F64:
    """(6,6) that turns both halves."""
    both = np.zeros((6, 6))
    both[:3, :3] = both[3:, 3:] = rotation
    return both
