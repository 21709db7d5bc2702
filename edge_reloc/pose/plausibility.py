"""How likely a pose is right, from what its matches show: a logistic model of two numbers.

A wrong pose that passes every threshold is mostly the right pose of another camera: of a flat
picture of the place, of an image that was cut, sheared, or put together of pieces. Its residuals
are those that another camera would explain, and its inliers fill a part of what has keypoints.
How much of either is usual differs from map to map, so a map knows it of photos that were left
out of it (`Plausibility` of the manifest). Words and figures: docs/integrity.md.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np

from ..arrays import F64
from ..bundle.manifest import Plausibility, Usual
from ..geometry.camera import Camera
from ..structs import Correspondences, Evidence, Features, PoseEstimate
from .refine import IMAGE_PARTS, MIN_DEPTH, MIN_SIGMA_PX, image_part, project
from .solver import PoseSolver

MOST = 400  # inliers that are looked at: more tell the same
CAUCHY = 1.5  # scale of the weights, in median errors
# What cameras may differ by: factor on the focal lengths, on their ratio, rows that are sheared,
# principal point (two) in focal lengths, radial stretch at 45 degrees.
PRIOR = np.diag(1.0 / np.square([1.0, 0.3, 0.3, 0.1, 0.1, 0.1]))
NOTHING = 0.01  # in inlier thresholds: what is explained by chance

#: for maps that do not know their own: more is usual than on maps of real places that do
CAREFUL = Plausibility(
    first=Usual(explained=(-2.5, 0.8), concentration=(0.3, 0.35)),
    refined=Usual(explained=(-2.5, 0.8), concentration=(0.3, 0.35)),
)


class PlausibilityCheck:
    """Tells how likely each pose is right.

    known: of the map, None for one that has no figures. solver: says what an inlier is.
    """

    def __init__(self, known: Plausibility | None, solver: PoseSolver) -> None:
        self._model = CAREFUL if known is None else known
        self._solver = solver

    def judge(
        self,
        camera: Camera,
        features: Features,
        matches: Correspondences,
        estimate: PoseEstimate,
    ) -> PoseEstimate:
        """The estimate with `p_right` and `evidence`; matches: those it speaks of."""
        threshold_px = self._solver.threshold_px(camera)
        evidence = evidence_of(camera, features, matches, estimate, threshold_px)
        if evidence is None:
            return estimate
        likely = chance(self._model, evidence, estimate.refined)
        return replace(estimate, evidence=evidence, p_right=likely)


def unless_unlikely(estimate: PoseEstimate, at_least: float) -> PoseEstimate:
    """The estimate, or a refusal where its chance of being right is smaller."""
    if estimate.p_right is None or estimate.p_right >= at_least:
        return estimate
    return estimate.refused(
        f"{estimate.inliers} inliers, but the pose is right with a chance of "
        f"{estimate.p_right:.0%}, {at_least:.0%} are needed: is it a picture of the place, cut "
        f"or stretched, or is the camera file another camera's?"
    )


def chance(model: Plausibility, evidence: Evidence, refined: bool) -> float:
    """That a pose is right, 0 to 1. refined: whether the second pass confirmed it."""
    usual = model.refined if refined else model.first
    explained, concentration = deviations(usual, evidence)
    odds = model.bias - model.explained * explained - model.concentration * concentration
    return 1.0 / (1.0 + exp(min(max(-odds, -50.0), 50.0)))


def deviations(usual: Usual, evidence: Evidence) -> tuple[float, float]:
    """By how many standard deviations each number exceeds what is usual, 0 where it does not."""
    return (
        max((evidence.explained - usual.explained[0]) / usual.explained[1], 0.0),
        max((evidence.concentration - usual.concentration[0]) / usual.concentration[1], 0.0),
    )


def evidence_of(
    camera: Camera,
    features: Features,
    matches: Correspondences,
    estimate: PoseEstimate,
    threshold_px: float,
) -> Evidence | None:
    """None without a pose and inliers. threshold_px: of an inlier of this camera."""
    pose, inliers = estimate.cam_from_world, estimate.inlier_index
    if pose is None or inliers is None or not len(inliers):
        return None
    keypoints = np.bincount(
        image_part(camera, features.xy_px[: features.n]), minlength=IMAGE_PARTS**2
    )
    seen = np.bincount(image_part(camera, matches.xy_px[inliers]), minlength=IMAGE_PARTS**2)
    share, whole = seen / seen.sum(), np.maximum(keypoints, 1) / max(features.n, 1)
    unlike = share * np.log(np.where(seen, share, 1.0) / whole)
    some = inliers[:: -(-len(inliers) // MOST)]
    explained = explained_px(camera, pose, matches.xy_px[some], matches.xyz_world[some])
    return Evidence(
        explained=log(explained / threshold_px + NOTHING),
        concentration=float(unlike.sum()),
    )


def explained_px(camera: Camera, cam_from_world: F64, xy_px: F64, xyz_world: F64) -> float:
    """Root mean square of what another camera would explain of the residuals, pixels.

    A score test at the pose (Rao 1948): how far the weighted squares of the residuals of
    xy_px (M,2), xyz_world (M,3) fall when the camera is free, too, to first order.
    """
    xyz = cam_from_world[:3, :3] @ xyz_world.T + cam_from_world[:3, 3:]
    if (xyz[2] < MIN_DEPTH).any():
        return 0.0
    rows = np.zeros((13, 2, len(xy_px)))  # the Jacobian of pose and camera and, last, the residual
    pixels = project(camera, xyz, rows[:6])
    away = pixels - np.array([[camera.cx], [camera.cy]])
    plane = away / np.array([[camera.fx], [camera.fy]])
    rows[6] = away
    rows[7, 0], rows[7, 1] = away[0], -away[1]
    rows[8, 0] = camera.fx * plane[1]
    rows[9, 0], rows[10, 1] = camera.fx, camera.fy
    rows[11] = away * (plane * plane).sum(axis=0)
    residual = rows[12] = pixels - xy_px.T
    squared = (residual * residual).sum(axis=0)
    weight = 1.0 / (1.0 + squared / max(CAUCHY**2 * float(np.median(squared)), MIN_SIGMA_PX**2))
    system = (rows * weight).reshape(13, -1) @ rows.reshape(13, -1).T
    total = float(weight.sum())
    variance = system[12, 12] / max(2.0 * total - 12.0, 1.0)
    try:
        by_pose = np.linalg.solve(system[:6, :6], system[:6, 6:])
        left = system[6:, 6:] - system[6:, :6] @ by_pose
        fall = left[:6, 6] @ np.linalg.solve(left[:6, :6] + variance * PRIOR, left[:6, 6])
    except np.linalg.LinAlgError:
        return 0.0
    return float(np.sqrt(max(fall, 0.0) / total))
