"""Intrinsics from board views: least squares over camera and board poses.

One minimiser for all lenses, so that the fisheye too has standard deviations
and a robust loss. Board poses are eliminated by the Schur complement (Triggs
et al., Bundle adjustment - a modern synthesis, 2000, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp

from .residuals import Problem, System, View, huber_loss
from .turns import rotations
from .uncertainty import std_by_photo

Array = NDArray[np.float64]

# lens -> camera model and how many of its distortion coefficients are free
LENSES = {
    "pinhole": ("pinhole", 0),
    "opencv": ("opencv", 5),
    "rational": ("opencv", 8),
    "fisheye": ("fisheye", 4),
}
PARAMETERS = {
    "pinhole": ("fx", "fy", "cx", "cy"),
    "opencv": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
FOCAL_SWEEP = np.geomspace(0.25, 4.0, 19)  # of the image width: 130 to 14 degrees
STEEPEST_RAY = 50.0  # tangent of the angle to the optical axis: 88.9 degrees
MAX_STEPS = 60
CONVERGED = 1e-9  # relative decrease of the cost
POSE_STEPS, GUESS_STEPS = 20, 2  # of a board pose: to the minimum, and to rank focal lengths


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted camera."""

    #: a name of LENSES
    lens: str
    camera: Camera
    #: (K,) standard deviation of each free parameter, in PARAMETERS' order and unit, from how
    #: much the photos disagree
    std: Array
    #: one (4,4) a view
    cam_from_board: list[Array]
    #: root mean square corner distance over the views that were fitted
    rms_px: float


def fit_camera(lens: str, views: Sequence[View], start: Camera) -> Fit:
    """The camera that explains the views best, from a first guess.

    Raises CameraError when the views do not determine the lens.
    """
    free = 4 + LENSES[lens][1]
    problem = Problem(views)
    camera = start
    poses = board_poses(camera, views)
    lost = np.isnan(poses).any(axis=(1, 2))
    if lost.any():
        name = views[int(np.argmax(lost))].name
        raise CameraError(f"calibration: {name} does not fit the lens '{lens}'")
    cost, damping = _cost(problem, camera, poses), 1e-3
    for _ in range(MAX_STEPS):
        system = problem.system(camera, poses, free)
        before = cost
        while damping < 1e8:
            trial = _step(system, damping, camera, poses)
            if trial is not None:
                trial_cost = _cost(problem, *trial)
                if trial_cost < cost:
                    camera, poses = trial
                    cost, damping = trial_cost, damping / 10
                    break
            damping *= 10
        if before - cost <= CONVERGED * before:
            break
    residual = problem.residuals(camera, poses)
    std = std_by_photo(problem.system(camera, poses, free))
    rms_px = float(np.sqrt((residual**2).sum(axis=1).mean()))
    return Fit(lens=lens, camera=camera, std=std, cam_from_board=list(poses), rms_px=rms_px)


def first_guess(lens: str, views: Sequence[View], width: int, height: int) -> Camera:
    """The undistorted camera whose focal length suits the views best."""
    best, best_error = None, np.inf
    some = views[:: max(1, len(views) // 10)]
    for ratio in FOCAL_SWEEP:
        camera = undistorted(LENSES[lens][0], width, height, ratio)
        errors = view_errors_px(camera, some, GUESS_STEPS)
        if np.median(errors) < best_error:
            best, best_error = camera, float(np.median(errors))
    if best is None:
        raise CameraError(f"calibration: no focal length explains the views with lens '{lens}'")
    return best


def undistorted(model: str, width: int, height: int, ratio: float) -> Camera:
    """A lens without distortion that looks out of the middle; ratio: focal length to width."""
    return Camera(
        model=model,
        width=width,
        height=height,
        fx=ratio * width,
        fy=ratio * width,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
    )


def view_errors_px(camera: Camera, views: Sequence[View], steps: int = POSE_STEPS) -> Array:
    """(V,) root mean square corner distance, each board where it fits best.

    Pixels; infinite for a view that this camera cannot have taken.
    """
    problem = Problem(views)
    poses = board_poses(camera, views, steps)
    square = (problem.residuals(camera, poses) ** 2).sum(axis=1)
    mean = problem.per_view(square) / problem.per_view(np.ones(len(square)))
    return np.where(np.isfinite(mean), np.sqrt(mean), np.inf)


def board_poses(camera: Camera, views: Sequence[View], steps: int = POSE_STEPS) -> Array:
    """(V,4,4) cam_from_board with the least pixel error; NaN where there is none.

    A plane seen from afar has two poses of nearly equal error (Collins and
    Bartoli, Infinitesimal plane-based pose estimation, 2014): both are refined.
    """
    starts = [_planar_poses(camera, view) for view in views]
    best = np.full((len(views), 4, 4), np.nan)
    possible = [i for i, start in enumerate(starts) if start is not None]
    if not possible:
        return best
    problem = Problem([views[i] for i in possible])
    tries = np.array([start for start in starts if start is not None]).transpose(1, 0, 2, 3)
    first, first_cost = _refined(problem, camera, tries[0], steps)
    second, second_cost = _refined(problem, camera, tries[1], steps)
    chosen = np.where((first_cost <= second_cost)[:, None, None], first, second)
    chosen[~np.isfinite(np.minimum(first_cost, second_cost))] = np.nan
    best[possible] = chosen
    return best


def _planar_poses(camera: Camera, view: View) -> Array | None:
    """(2,4,4) both poses of a plane, or None when its rays make no sense."""
    rays = camera.rays_from_pixels(view.xy_px)
    if not np.all(np.isfinite(rays)) or np.abs(rays).max() > STEEPEST_RAY:
        return None
    found, turns, shifts, _ = cv2.solvePnPGeneric(
        view.xyz_board, rays, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    if not found:
        return None
    poses = [compose(so3_exp(r.ravel()), t.ravel()) for r, t in zip(turns, shifts, strict=True)]
    return np.array([poses[0], poses[-1]])


def _refined(problem: Problem, camera: Camera, poses: Array, steps: int) -> tuple[Array, Array]:
    """Poses (V,4,4) after Gauss-Newton steps, and their costs (V,)."""
    cost = problem.per_view(huber_loss(problem.residuals(camera, poses)))
    for _ in range(steps):
        blocks, gradients = problem.pose_system(camera, poses)
        # A hint of damping: a view from a line of corners leaves a turn open.
        blocks = blocks + 1e-9 * _diagonals(blocks) + 1e-12 * np.eye(6)
        usable = np.isfinite(blocks).all(axis=(1, 2)) & np.isfinite(gradients).all(axis=1)
        blocks[~usable], gradients[~usable] = np.eye(6), 0.0
        delta = np.asarray(-np.linalg.solve(blocks, gradients[:, :, None])[:, :, 0], np.float64)
        trial = _moved(poses, delta)
        trial_cost = problem.per_view(huber_loss(problem.residuals(camera, trial)))
        better = trial_cost < cost * (1 - 1e-7)
        if not better.any():
            break
        poses = np.where(better[:, None, None], trial, poses)
        cost = np.where(better, trial_cost, cost)
    return poses, cost


def _cost(problem: Problem, camera: Camera, poses: Array) -> float:
    return float(huber_loss(problem.residuals(camera, poses)).sum())


def _step(
    system: System, damping: float, camera: Camera, poses: Array
) -> tuple[Camera, Array] | None:
    """Camera and poses after one damped Gauss-Newton step, None if impossible."""
    pose_blocks = system.pose_blocks + damping * _diagonals(system.pose_blocks)
    camera_block = system.camera_blocks.sum(axis=0)
    camera_block = camera_block + damping * np.diag(np.diag(camera_block))
    try:
        by_cross = np.linalg.solve(pose_blocks, system.cross_blocks.transpose(0, 2, 1))
        by_gradient = np.linalg.solve(pose_blocks, system.pose_gradients[:, :, None])
        reduced = camera_block - (system.cross_blocks @ by_cross).sum(axis=0)
        gradient = (system.camera_gradients - (system.cross_blocks @ by_gradient)[:, :, 0]).sum(
            axis=0
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
    turns, out = rotations(delta[:, :3]), poses.copy()
    out[:, :3] = turns @ poses[:, :3]
    out[:, :3, 3] += delta[:, 3:]
    return out


def _diagonals(blocks: Array) -> Array:
    return np.asarray(np.einsum("vii->vi", blocks)[:, :, None] * np.eye(blocks.shape[1]))
