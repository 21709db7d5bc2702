"""Intrinsics from board views: least squares over camera and board poses.

One minimiser for all lenses (V views, N corners, K free parameters), so that
the fisheye too has standard deviations and a robust loss. Residuals are
pixels; a board pose moves by the left perturbation Exp(delta) @ cam_from_board
and is eliminated by the Schur complement (Triggs et al., Bundle adjustment - a
modern synthesis, 2000, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.camera import Camera
from edge_reloc.errors import CameraError
from edge_reloc.geometry import compose, so3_exp

Array = NDArray[np.float64]

# lens -> camera model and how many of its distortion coefficients are free
LENSES = {"pinhole": ("pinhole", 0), "opencv": ("opencv", 5), "rational": ("opencv", 8)}
LENSES["fisheye"] = ("fisheye", 4)
PARAMETERS = {
    "pinhole": ("fx", "fy", "cx", "cy"),
    "opencv": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
HUBER_PX = 1.0  # beyond this a corner pulls with constant force
FOCAL_SWEEP = np.geomspace(0.25, 4.0, 19)  # of the image width: 130 to 14 degrees
MAX_STEPS = 60
CONVERGED = 1e-9  # relative decrease of the cost


@dataclass(frozen=True, kw_only=True)
class View:
    """Board corners seen in one photo: xyz_board (N,3) m, xy_px (N,2)."""

    name: str
    xyz_board: Array
    xy_px: Array


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted camera.

    std: standard deviation of each free parameter, in PARAMETERS' order and
    the parameter's own unit. cam_from_board: one (4,4) a view. rms_px: root
    mean square corner distance over the views that were fitted.
    """

    lens: str
    camera: Camera
    std: Array
    cam_from_board: list[Array]
    rms_px: float


class _System(NamedTuple):
    """Normal equations of one linearisation."""

    camera_block: Array  # (K,K)
    cross_blocks: Array  # (V,K,6)
    pose_blocks: Array  # (V,6,6)
    camera_gradient: Array  # (K,)
    pose_gradients: Array  # (V,6)


class _Problem:
    """All corners of all views in flat arrays."""

    def __init__(self, views: Sequence[View]) -> None:
        self.xyz = np.concatenate([view.xyz_board for view in views])
        self.xy_px = np.concatenate([view.xy_px for view in views])
        self.sizes = [len(view.xy_px) for view in views]
        self.view = np.repeat(np.arange(len(views)), self.sizes)
        self.ends = np.cumsum(self.sizes)

    def points_in_camera(self, poses: Array) -> Array:
        turned = np.einsum("nij,nj->ni", poses[self.view, :3, :3], self.xyz)
        return np.asarray(turned + poses[self.view, :3, 3])

    def residuals(self, camera: Camera, poses: Array) -> Array:
        return camera.project(self.points_in_camera(poses)) - self.xy_px

    def system(self, camera: Camera, poses: Array, free: int) -> _System:
        xyz = self.points_in_camera(poses)
        z = xyz[:, 2:]
        xy = xyz[:, :2] / z
        pixels, by_xy = camera.pixels_and_jacobian(xy)
        residual = pixels - self.xy_px
        weight = _huber_weight(residual)
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

        return _System(
            np.einsum("nri,nrj->ij", weighted_camera, by_camera),
            per_view(weighted_camera, by_pose),
            per_view(weighted_pose, by_pose),
            np.einsum("nri,nr->i", weighted_camera, residual),
            np.add.reduceat(np.einsum("nri,nr->ni", weighted_pose, residual), starts, axis=0),
        )


def fit_camera(lens: str, views: Sequence[View], start: Camera) -> Fit:
    """The camera that explains the views best, from a first guess.

    Raises CameraError when the views do not determine the lens.
    """
    model, distortion = LENSES[lens]
    free = 4 + distortion
    problem = _Problem(views)
    camera = start
    poses = np.stack([_pose_or_raise(camera, view) for view in views])
    cost, damping = _cost(problem.residuals(camera, poses)), 1e-3
    for _ in range(MAX_STEPS):
        system = problem.system(camera, poses, free)
        before = cost
        while damping < 1e8:
            trial = _step(system, damping, camera, poses)
            if trial is not None:
                trial_cost = _cost(problem.residuals(*trial))
                if trial_cost < cost:
                    camera, poses = trial
                    cost, damping = trial_cost, damping / 10
                    break
            damping *= 10
        if before - cost <= CONVERGED * before:
            break
    residual = problem.residuals(camera, poses)
    std = _standard_deviations(problem.system(camera, poses, free), residual)
    rms_px = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return Fit(lens=lens, camera=camera, std=std, cam_from_board=list(poses), rms_px=rms_px)


def first_guess(lens: str, views: Sequence[View], width: int, height: int) -> Camera:
    """The undistorted camera whose focal length suits the views best."""
    best, best_error = None, np.inf
    some = views[:: max(1, len(views) // 10)]
    for ratio in FOCAL_SWEEP:
        camera = Camera(
            model=LENSES[lens][0],
            width=width,
            height=height,
            fx=ratio * width,
            fy=ratio * width,
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
        )
        errors = [view_error_px(camera, view) for view in some]
        if np.median(errors) < best_error:
            best, best_error = camera, float(np.median(errors))
    if best is None:
        raise CameraError(f"calibration: no focal length explains the views with lens '{lens}'")
    return best


def view_error_px(camera: Camera, view: View) -> float:
    """Root mean square corner distance, pixels, with the board where it fits best."""
    pose = board_pose(camera, view)
    if pose is None:
        return float("inf")
    residual = _Problem([view]).residuals(camera, pose[None])
    return float(np.sqrt((residual**2).sum(axis=1).mean()))


def board_pose(camera: Camera, view: View) -> Array | None:
    """cam_from_board (4,4) with the least squared pixel error, or None.

    A plane seen from afar has two poses of nearly equal error (Collins and
    Bartoli, Infinitesimal plane-based pose estimation, 2014): both are refined.
    """
    rays = camera.rays_from_pixels(view.xy_px)
    if not np.all(np.isfinite(rays)) or np.abs(rays).max() > 50:
        return None
    _, turns, shifts, _ = cv2.solvePnPGeneric(
        view.xyz_board, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    problem = _Problem([view])
    best, best_cost = None, np.inf
    for turn, shift in zip(turns, shifts, strict=True):
        pose = compose(so3_exp(turn.ravel()), shift.ravel())[None]
        cost = _cost(problem.residuals(camera, pose))
        for _ in range(20):
            system = problem.system(camera, pose, 4)
            delta = np.linalg.lstsq(system.pose_blocks[0], -system.pose_gradients[0], rcond=None)[0]
            trial = _moved(pose, delta[None])
            trial_cost = _cost(problem.residuals(camera, trial))
            if not trial_cost < cost * (1 - 1e-10):
                break
            pose, cost = trial, trial_cost
        if cost < best_cost:
            best, best_cost = pose[0], cost
    return best


def _pose_or_raise(camera: Camera, view: View) -> Array:
    pose = board_pose(camera, view)
    if pose is None:
        raise CameraError(f"calibration: {view.name} does not fit the lens '{camera.model}'")
    return pose


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


def _step(
    system: _System, damping: float, camera: Camera, poses: Array
) -> tuple[Camera, Array] | None:
    """Camera and poses after one damped Gauss-Newton step, None if impossible."""
    pose_blocks = system.pose_blocks + damping * _diagonals(system.pose_blocks)
    camera_block = system.camera_block + damping * np.diag(np.diag(system.camera_block))
    try:
        by_cross = np.linalg.solve(pose_blocks, system.cross_blocks.transpose(0, 2, 1))
        by_gradient = np.linalg.solve(pose_blocks, system.pose_gradients[:, :, None])
        reduced = camera_block - (system.cross_blocks @ by_cross).sum(axis=0)
        gradient = (
            system.camera_gradient - (system.cross_blocks @ by_gradient)[:, :, 0].sum(axis=0)
        )
        camera_delta = -np.linalg.solve(reduced, gradient)
    except np.linalg.LinAlgError:
        return None
    pose_delta = -by_gradient[:, :, 0] - by_cross @ camera_delta
    values = camera.parameters
    values[: len(camera_delta)] += camera_delta
    try:
        moved = replace(
            camera,
            fx=float(values[0]),
            fy=float(values[1]),
            cx=float(values[2]),
            cy=float(values[3]),
            distortion=tuple(float(v) for v in values[4:]),
        )
    except CameraError:  # the step left the lenses that exist
        return None
    return moved, _moved(poses, pose_delta)


def _moved(poses: Array, delta: Array) -> Array:
    """Exp(delta) @ pose for each of V poses; delta (V,6) rotation, translation."""
    moves = np.stack([compose(so3_exp(d[:3]), d[3:]) for d in delta])
    # The rotation part acts on the point before the shift: X' = Exp(w) X + v.
    return np.asarray(moves @ poses)


def _diagonals(blocks: Array) -> Array:
    return np.einsum("vii->vi", blocks)[:, :, None] * np.eye(blocks.shape[1])


def _standard_deviations(system: _System, residual: Array) -> Array:
    """(K,) from the curvature at the minimum and the residuals' own variance."""
    by_cross = np.linalg.solve(system.pose_blocks, system.cross_blocks.transpose(0, 2, 1))
    reduced = system.camera_block - (system.cross_blocks @ by_cross).sum(axis=0)
    weight = _huber_weight(residual)
    freedom = residual.size - len(reduced) - 6 * len(system.pose_blocks)
    variance = (weight[:, None] * residual**2).sum() / max(freedom, 1)
    scale = 1 / np.sqrt(np.maximum(np.diag(reduced), 1e-300))  # parameters differ by 1e6
    covariance = np.linalg.pinv(reduced * np.outer(scale, scale), hermitian=True)
    return np.asarray(np.sqrt(np.maximum(np.diag(covariance) * variance, 0)) * scale)


def _huber_weight(residual: Array) -> Array:
    length = np.sqrt((residual**2).sum(axis=1))
    return np.asarray(np.minimum(1.0, HUBER_PX / np.maximum(length, 1e-12)))


def _cost(residual: Array) -> float:
    """Sum of Huber losses; infinite when a corner cannot be projected."""
    length = np.sqrt((residual**2).sum(axis=1))
    if not np.all(np.isfinite(length)):
        return float("inf")
    return float(
        np.where(length <= HUBER_PX, length**2 / 2, HUBER_PX * (length - HUBER_PX / 2)).sum()
    )
