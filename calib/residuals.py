"""Corner residuals of all views, their derivatives and normal equations.

V views, N corners over all views, K free camera parameters. A board pose
moves by the left perturbation Exp(delta) @ cam_from_board, delta = rotation
(rad), translation (m).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_reloc.geometry.camera import Camera

Array = NDArray[np.float64]

HUBER_PX = 1.0  # beyond this a corner pulls with constant force


@dataclass(frozen=True, kw_only=True)
class View:
    """Board corners seen in one photo."""

    name: str
    #: (N,3) in the board frame, metres
    xyz_board: Array
    #: (N,2)
    xy_px: Array
    #: of the circles whose centroids these are, metres; 0 for corners
    radius_m: float = 0.0


class System(NamedTuple):
    """Normal equations of one linearisation."""

    camera_blocks: Array  #: (V,K,K)
    cross_blocks: Array  #: (V,K,6)
    pose_blocks: Array  #: (V,6,6)
    camera_gradients: Array  #: (V,K)
    pose_gradients: Array  #: (V,6)

    def without_poses(self) -> tuple[Array, Array]:
        """Each view's (V,K,K) block and (V,K) gradient of the camera, its pose eliminated."""
        by_cross = np.linalg.solve(self.pose_blocks, self.cross_blocks.transpose(0, 2, 1))
        by_gradient = np.linalg.solve(self.pose_blocks, self.pose_gradients[:, :, None])
        blocks = self.camera_blocks - self.cross_blocks @ by_cross
        gradients = self.camera_gradients - (self.cross_blocks @ by_gradient)[:, :, 0]
        return np.asarray(blocks), np.asarray(gradients)


class Problem:
    """All corners of all views in flat arrays."""

    def __init__(self, views: Sequence[View]) -> None:
        self.xyz = np.concatenate([view.xyz_board for view in views])
        self.xy_px = np.concatenate([view.xy_px for view in views])
        sizes = [len(view.xy_px) for view in views]
        self._view = np.repeat(np.arange(len(views)), sizes)
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def points_in_camera(self, poses: Array) -> Array:
        """(N,3) corners in the camera, metres; poses (V,4,4) cam_from_board."""
        turned = (poses[self._view, :3, :3] @ self.xyz[:, :, None])[:, :, 0]
        return np.asarray(turned + poses[self._view, :3, 3])

    def residuals(self, camera: Camera, poses: Array) -> Array:
        """(N,2) projected minus seen, pixels."""
        return np.asarray(camera.project(self.points_in_camera(poses)) - self.xy_px)

    def per_view(self, values: Array) -> Array:
        """Sums (V,...) over the corners of each view of values (N,...)."""
        return np.asarray(np.add.reduceat(values, self._starts, axis=0))

    def pose_system(self, camera: Camera, poses: Array) -> tuple[Array, Array]:
        """Huber-weighted (V,6,6) blocks and (V,6) gradients of the poses alone."""
        _, by_pose, residual = self._linearised(camera, poses)
        weighted = by_pose * huber_weight(residual)[:, None, None]
        blocks = self.per_view(weighted.transpose(0, 2, 1) @ by_pose)
        return blocks, self.per_view((weighted * residual[:, :, None]).sum(axis=1))

    def system(self, camera: Camera, poses: Array, free: int) -> System:
        """Gauss-Newton blocks with Huber weights; K = free."""
        xy, by_pose, residual = self._linearised(camera, poses)
        weight = huber_weight(residual)[:, None, None]
        by_camera = _pixels_by_parameters(camera, xy, free)
        camera_rows = (by_camera * weight).transpose(0, 2, 1)
        pose_rows = (by_pose * weight).transpose(0, 2, 1)
        return System(
            self.per_view(camera_rows @ by_camera),
            self.per_view(camera_rows @ by_pose),
            self.per_view(pose_rows @ by_pose),
            self.per_view((camera_rows @ residual[:, :, None])[:, :, 0]),
            self.per_view((pose_rows @ residual[:, :, None])[:, :, 0]),
        )

    def _linearised(self, camera: Camera, poses: Array) -> tuple[Array, Array, Array]:
        """Plane points (N,2), pixels by pose (N,2,6) and residuals (N,2)."""
        xyz = self.points_in_camera(poses)
        z = xyz[:, 2:]
        xy = xyz[:, :2] / z
        pixels, by_xy = camera.pixels_and_jacobian(xy)
        n = len(xyz)
        xy_by_point = np.zeros((n, 2, 3))
        xy_by_point[:, 0, 0] = xy_by_point[:, 1, 1] = 1.0
        xy_by_point[:, :, 2] = -xy
        by_point = by_xy @ (xy_by_point / z[:, :, None])
        by_pose = np.empty((n, 2, 6))
        # A turn w moves the point X by w x X, so a row g of by_point gives X x g.
        by_pose[:, :, :3] = np.cross(xyz[:, None, :], by_point)
        by_pose[:, :, 3:] = by_point
        return xy, by_pose, pixels - self.xy_px


def _pixels_by_parameters(camera: Camera, xy: Array, free: int) -> Array:
    """(N,2,K) derivatives of the pixels; K = 4 + free distortion coefficients."""
    bent = (camera.pixels_from_rays(xy) - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
    out = np.zeros((len(xy), 2, free))
    out[:, 0, 0], out[:, 1, 1] = bent[:, 0], bent[:, 1]
    out[:, 0, 2] = out[:, 1, 3] = 1.0
    step = 1e-5
    for k in range(free - 4):
        ahead, behind = list(camera.distortion), list(camera.distortion)
        ahead[k] += step
        behind[k] -= step
        difference = replace(camera, distortion=tuple(ahead)).pixels_from_rays(xy) - replace(
            camera, distortion=tuple(behind)
        ).pixels_from_rays(xy)
        out[:, :, 4 + k] = difference / (2 * step)
    return out


def huber_weight(residual: Array) -> Array:
    """(N,) weights of residuals (N,2)."""
    length = np.sqrt((residual**2).sum(axis=1))
    return np.asarray(np.minimum(1.0, HUBER_PX / np.maximum(length, 1e-12)))


def huber_loss(residual: Array) -> Array:
    """(N,) losses of residuals (N,2); infinite where a corner cannot be projected."""
    length = np.sqrt((residual**2).sum(axis=1))
    loss = np.where(length <= HUBER_PX, length**2 / 2, HUBER_PX * (length - HUBER_PX / 2))
    return np.where(np.isfinite(loss), loss, np.inf)
