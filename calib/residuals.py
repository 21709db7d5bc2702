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

from edge_reloc.camera import Camera

Array = NDArray[np.float64]

HUBER_PX = 1.0  # beyond this a corner pulls with constant force


@dataclass(frozen=True, kw_only=True)
class View:
    """Board corners seen in one photo: xyz_board (N,3) m, xy_px (N,2)."""

    name: str
    xyz_board: Array
    xy_px: Array


class System(NamedTuple):
    """Normal equations of one linearisation."""

    camera_block: Array  # (K,K)
    cross_blocks: Array  # (V,K,6)
    pose_blocks: Array  # (V,6,6)
    camera_gradient: Array  # (K,)
    pose_gradients: Array  # (V,6)


class Problem:
    """All corners of all views in flat arrays."""

    def __init__(self, views: Sequence[View]) -> None:
        self.xyz = np.concatenate([view.xyz_board for view in views])
        self.xy_px = np.concatenate([view.xy_px for view in views])
        self.sizes = [len(view.xy_px) for view in views]
        self.view = np.repeat(np.arange(len(views)), self.sizes)
        self.ends = np.cumsum(self.sizes)

    def points_in_camera(self, poses: Array) -> Array:
        """(N,3) corners in the camera, metres; poses (V,4,4) cam_from_board."""
        turned = np.einsum("nij,nj->ni", poses[self.view, :3, :3], self.xyz)
        return np.asarray(turned + poses[self.view, :3, 3])

    def residuals(self, camera: Camera, poses: Array) -> Array:
        """(N,2) projected minus seen, pixels."""
        return np.asarray(camera.project(self.points_in_camera(poses)) - self.xy_px)

    def system(self, camera: Camera, poses: Array, free: int) -> System:
        """Gauss-Newton blocks with Huber weights; K = free."""
        xyz = self.points_in_camera(poses)
        z = xyz[:, 2:]
        xy = xyz[:, :2] / z
        pixels, by_xy = camera.pixels_and_jacobian(xy)
        residual = pixels - self.xy_px
        weight = huber_weight(residual)
        n = len(xyz)
        xy_by_point = np.zeros((n, 2, 3))
        xy_by_point[:, 0, 0] = xy_by_point[:, 1, 1] = 1.0
        xy_by_point[:, :, 2] = -xy
        point_by_pose = np.zeros((n, 3, 6))
        point_by_pose[:, 0, 1], point_by_pose[:, 0, 2] = xyz[:, 2], -xyz[:, 1]
        point_by_pose[:, 1, 0], point_by_pose[:, 1, 2] = -xyz[:, 2], xyz[:, 0]
        point_by_pose[:, 2, 0], point_by_pose[:, 2, 1] = xyz[:, 1], -xyz[:, 0]
        point_by_pose[:, :, 3:] = np.eye(3)
        by_pose = by_xy @ (xy_by_point / z[:, :, None]) @ point_by_pose
        by_camera = _pixels_by_parameters(camera, xy, free)
        weighted_pose = by_pose * weight[:, None, None]
        weighted_camera = by_camera * weight[:, None, None]
        starts = np.concatenate([[0], self.ends[:-1]])

        def per_view(left: Array, right: Array) -> Array:
            return np.add.reduceat(np.einsum("nri,nrj->nij", left, right), starts, axis=0)

        return System(
            np.einsum("nri,nrj->ij", weighted_camera, by_camera),
            per_view(weighted_camera, by_pose),
            per_view(weighted_pose, by_pose),
            np.einsum("nri,nr->i", weighted_camera, residual),
            np.add.reduceat(np.einsum("nri,nr->ni", weighted_pose, residual), starts, axis=0),
        )


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


def cost_of(residual: Array) -> float:
    """Sum of Huber losses; infinite when a corner cannot be projected."""
    length = np.sqrt((residual**2).sum(axis=1))
    if not np.all(np.isfinite(length)):
        return float("inf")
    return float(
        np.where(length <= HUBER_PX, length**2 / 2, HUBER_PX * (length - HUBER_PX / 2)).sum()
    )
