"""Pose refinement on inliers, with distortion, and its covariance.

Gauss-Newton with the left perturbation cam_from_world <- Exp(delta) @
cam_from_world, delta = [rotation rad, translation], and Cauchy weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..camera import Camera
from ..geometry import compose, so3_exp, transform

F64 = NDArray[np.float64]

MIN_DEPTH = 1e-6
MIN_SIGMA_PX = 0.5  # keypoints are not better than this; keeps covariances honest


@dataclass(frozen=True, kw_only=True)
class Refined:
    """cam_from_world (4,4), covariance (6,6) in rad and map units, residuals."""

    cam_from_world: F64
    covariance: F64
    sigma_px: float


def reprojection_error_px(camera: Camera, cam_from_world: F64, xy_px: F64, xyz_world: F64) -> F64:
    """Distance (M,) in pixels; infinite behind the camera."""
    xyz = transform(cam_from_world, xyz_world)
    ahead = xyz[:, 2] > MIN_DEPTH
    xyz[~ahead] = (0.0, 0.0, 1.0)
    error = np.linalg.norm(camera.pixels_from_rays(xyz[:, :2] / xyz[:, 2:]) - xy_px, axis=1)
    error[~ahead] = np.inf
    return np.asarray(error)


def refine_pose(
    camera: Camera,
    cam_from_world: F64,
    xy_px: F64,
    xyz_world: F64,
    *,
    scale_px: float = 1.5,
    iterations: int = 10,
) -> Refined | None:
    """Minimise Cauchy(reprojection error / scale_px); None when degenerate.

    xy_px (M,2), xyz_world (M,3), M >= 4.
    """
    pose = cam_from_world.copy()
    normal = np.eye(6)
    residual = np.zeros((len(xy_px), 2))
    weight = np.ones(len(xy_px))
    for _ in range(iterations):
        xyz = transform(pose, xyz_world)
        if (xyz[:, 2] < MIN_DEPTH).any():
            return None
        pixels, jacobian = _pixels_and_jacobian(camera, xyz)
        residual = pixels - xy_px
        weight = 1.0 / (1.0 + (residual * residual).sum(axis=1) / scale_px**2)
        weighted = jacobian * weight[:, None, None]
        normal = np.einsum("mij,mik->jk", weighted, jacobian)
        gradient = np.einsum("mij,mi->j", weighted, residual)
        try:
            step = -np.linalg.solve(normal, gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all():
            return None
        update = compose(so3_exp(step[:3]), step[3:])
        pose = update @ pose
        if np.abs(step[:3]).max() < 1e-8 and np.abs(step[3:]).max() < 1e-8:
            break
    freedom = max(2.0 * weight.sum() - 6.0, 1.0)
    variance = float((weight[:, None] * residual * residual).sum()) / freedom
    sigma = max(float(np.sqrt(variance)), MIN_SIGMA_PX)
    try:
        covariance = np.linalg.inv(normal) * sigma**2
    except np.linalg.LinAlgError:
        return None
    return Refined(
        cam_from_world=pose, covariance=0.5 * (covariance + covariance.T), sigma_px=sigma
    )


def _pixels_and_jacobian(camera: Camera, xyz: F64) -> tuple[F64, F64]:
    """Pixels (M,2) and d pixel / d delta (M,2,6) of camera points (M,3)."""
    inverse_z = 1.0 / xyz[:, 2]
    x, y = xyz[:, 0] * inverse_z, xyz[:, 1] * inverse_z
    pixels, d_ray = camera.pixels_and_jacobian(np.stack([x, y], axis=1))
    # d(x, y) / d(rotation, translation) of Exp(delta) applied to the point
    d = np.zeros((len(xyz), 2, 6))
    d[:, 0, 0] = -x * y
    d[:, 0, 1] = 1 + x * x
    d[:, 0, 2] = -y
    d[:, 0, 3] = inverse_z
    d[:, 0, 5] = -x * inverse_z
    d[:, 1, 0] = -1 - y * y
    d[:, 1, 1] = x * y
    d[:, 1, 2] = x
    d[:, 1, 4] = inverse_z
    d[:, 1, 5] = -y * inverse_z
    return pixels, d_ray @ d
