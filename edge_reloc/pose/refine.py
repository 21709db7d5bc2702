"""Pose refinement on inliers, with distortion, and its covariance.

Gauss-Newton with the left perturbation cam_from_world <- Exp(delta) @
cam_from_world, delta = [rotation rad, translation], and Cauchy weights. The covariance
allows for errors that neighbours share, as far as the residuals show them; errors of the
whole map it cannot see. Where the map knows how exact its points are, residuals count by that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..arrays import F32, F64, Array
from ..geometry.camera import Camera
from ..geometry.rigid import compose, so3_exp
from .point_noise import PointNoise, Precision, precision

MIN_DEPTH = 1e-6
MIN_SIGMA_PX = 0.5  # keypoints are not better than this; keeps covariances honest
IMAGE_PARTS = 4  # along each side: inliers must spread over them, errors may share them
CONVERGED = 1e-2  # a step below this share of the pose's own uncertainty is the last

SPREAD = 1.5  # robust scale, as a multiple of the median residual


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """A pose after refinement, and the last step to it on M inliers."""

    #: (4,4)
    cam_from_world: F64
    camera: Camera
    #: pixels (2,M)
    observed: F64
    #: (6,6) of the step
    normal: F64
    #: residuals (2,M) as errors that are alike
    residual: F64
    #: squares (M,) of their lengths
    squared: F64
    #: of each inlier (M,), and the robust factor in it (M,)
    weight: F64
    robust: F64

    @cached_property
    def covariance(self) -> F64:
        """(6,6) of [rotation rad, translation map units]; only the last round's is asked for."""
        freedom = max(2.0 * self.weight.sum() - 6.0, 1.0)
        variance = float(self.weight @ self.squared) / freedom
        sigma = max(float(np.sqrt(variance)), MIN_SIGMA_PX)
        expected = 2 * sigma**2 * float(self.weight @ self.robust)
        weighed = self.residual * self.weight
        inflation = cluster_inflation(self.camera, self.observed, weighed, expected)
        covariance = np.linalg.inv(self.normal) * sigma**2 * inflation
        return np.asarray(0.5 * (covariance + covariance.T))


def reprojection_error_px(camera: Camera, cam_from_world: F64, xy_px: F64, xyz_world: F64) -> F64:
    """Distance (M,) in pixels; infinite behind the camera."""
    xyz = cam_from_world[:3, :3] @ xyz_world.T + cam_from_world[:3, 3:]
    ahead = xyz[2] > MIN_DEPTH
    plane = xyz[:2] / np.where(ahead, xyz[2], 1.0)
    away = (camera.pixels_from_rays(plane.T) - xy_px).T
    return np.where(ahead, np.sqrt(away[0] * away[0] + away[1] * away[1]), np.inf)


def refine_pose(
    camera: Camera,
    cam_from_world: F64,
    xy_px: F64,
    xyz_world: F64,
    *,
    trust: Array | None = None,
    noise: PointNoise | None = None,
    scale_px: tuple[float, float] = (1.5, 1.5),
    iterations: int = 10,
) -> Refined | None:
    """Minimise trust * Cauchy(reprojection error / scale); None when degenerate.

    xy_px (M,2), xyz_world (M,3), M >= 4. trust (M,): inverse variances of the errors up to a
    factor; None where all are alike. noise: of the M points. scale_px: bounds of the robust
    scale, which follows the residuals: features differ in how exactly they place a keypoint.
    """
    share = np.ones(len(xy_px)) if trust is None else trust / trust.mean()
    pose = cam_from_world.copy()
    world, observed = np.ascontiguousarray(xyz_world.T), np.ascontiguousarray(xy_px.T)
    rows = np.empty((7, 2, len(xy_px)))  # the Jacobian and, last, the residual
    residual = rows[6]
    known: Precision | None = None
    scale = 0.0
    for _ in range(iterations):
        xyz = pose[:3, :3] @ world + pose[:3, 3:]
        if (xyz[2] < MIN_DEPTH).any():
            return None
        residual[:] = project(camera, xyz, rows[:6]) - observed
        squared = residual[0] * residual[0] + residual[1] * residual[1]
        if noise is not None:
            if known is None:
                known = precision(noise, pose[:3, :3], rows[3:6], squared)
            along = known.along(rows)
            squared = known.weight * (squared - known.less * along[6] * along[6])
        if not scale:
            scale = float(np.clip(SPREAD * np.median(np.sqrt(squared)), *scale_px))
        robust = 1.0 / (1.0 + squared / scale**2)
        weight = share * robust
        pull = weight if known is None else weight * known.weight
        flat = rows.reshape(7, -1)
        system = (rows[:6] * pull).reshape(6, -1) @ flat.T
        if known is not None:
            system -= (along[:6] * (pull * known.less)) @ along.T
        normal, gradient = system[:, :6], system[:, 6]
        try:
            step = -np.linalg.solve(normal, gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        pose = compose(so3_exp(step[:3]), step[3:]) @ pose
        if -gradient @ step < (CONVERGED * scale) ** 2:
            break
    return Refined(
        cam_from_world=pose,
        camera=camera,
        observed=observed,
        normal=normal,
        residual=residual if known is None else known.whitened(residual),
        squared=squared,
        weight=weight,
        robust=robust,
    )


def image_part(camera: Camera, xy_px: F64 | F32) -> NDArray[np.intp]:
    """Which of IMAGE_PARTS x IMAGE_PARTS parts of the image each pixel (M,2) lies in: (M,)."""
    scale = IMAGE_PARTS / camera.width, IMAGE_PARTS / camera.height
    cell = np.clip(xy_px * scale, 0, IMAGE_PARTS - 1)
    x, y = cell.astype(np.intp).T
    return np.asarray(y * IMAGE_PARTS + x)


def cluster_inflation(camera: Camera, xy_px: F64, residual: F64, expected: float) -> float:
    """How much more the residuals (2,M) of image parts sum up to than independent ones do.

    1 or more, as in a cluster-robust covariance: points of one neighbourhood err alike, where
    a map bends or a network guesses.

    expected: sum of squares of the parts' sums if they were independent.
    """
    part = image_part(camera, xy_px.T)
    sums = np.stack([np.bincount(part, along, IMAGE_PARTS * IMAGE_PARTS) for along in residual])
    parts = int(np.count_nonzero(np.bincount(part)))
    # The pose has taken six of the two numbers that each part gives.
    observed = float(np.square(sums).sum()) * parts / max(parts - 3, 1)
    return max(observed / expected, 1.0)


def project(camera: Camera, xyz: F64, jacobian: F64) -> F64:
    """Pixels (2,M) of camera points (3,M); fill d pixel / d delta (6,2,M)."""
    inverse_z = 1.0 / xyz[2]
    x, y = plane = xyz[:2] * inverse_z
    pixels, by_plane = camera.pixels_and_jacobian(plane.T)
    by_x, by_y = by_plane.transpose(2, 1, 0)
    # d(x, y) / d(rotation, translation) of Exp(delta) applied to the point
    jacobian[0] = by_x * (-x * y) - by_y * (1 + y * y)
    jacobian[1] = by_x * (1 + x * x) + by_y * (x * y)
    jacobian[2] = by_y * x - by_x * y
    jacobian[3] = by_x * inverse_z
    jacobian[4] = by_y * inverse_z
    jacobian[5] = -jacobian[3] * x - jacobian[4] * y
    return pixels.T
