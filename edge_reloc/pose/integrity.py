"""What may be believed of a pose: a covariance that is true, protection levels, a last look.

The solver's covariance knows of errors that keypoints make on their own. Errors of the map are
shared by many points, and are known from mapping photos that were left out of it: `Integrity`
of the manifest. Words and figures: docs/integrity.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from ..arrays import F64
from ..bundle.manifest import CovarianceScale, Integrity, World
from ..bundle.points import PointMap
from ..geometry.rigid import Array
from ..structs import Correspondences, PoseEstimate, Status
from .calibration_check import CameraError
from .viewing import FACING, is_behind, viewing_angles

#: for maps that do not know their own: what maps of real places that do know it have, or more
CAREFUL = CovarianceScale(factor=8.0, angle_rad=0.2, per_radian=1.5, tail=3.0)
# Within so many standard deviations lie 95 % of normal errors along one axis, in a plane.
AXIS_95, PLANE_95 = 1.960, 2.448
# How often a camera file is another camera's: a fault, in the sense of solution separation
# (Blanch et al., ION ITM 2012). Its hypothesis is allowed the integrity risk divided by that.
WRONG_FILE = 0.01


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Protection levels at an integrity risk."""

    hpl_m: float
    vpl_m: float
    ypl_deg: float

    def beyond(self, pose: Array, shift: F64, down: F64) -> Levels:
        """Of a pose that is off by shift (6,) beside; down (3,) in the world."""
        turned, moved = pose[:3, :3].T @ shift[:3], pose[:3, :3].T @ shift[3:]
        down = down / np.linalg.norm(down)
        upright = float(moved @ down)
        return Levels(
            hpl_m=self.hpl_m + float(np.linalg.norm(moved - upright * down)),
            vpl_m=self.vpl_m + abs(upright),
            ypl_deg=self.ypl_deg + abs(float(np.degrees(turned @ down))),
        )

    def and_beside(self, other: Levels) -> Levels:
        """Of the sum of two independent errors."""
        return Levels(
            hpl_m=float(np.hypot(self.hpl_m, other.hpl_m)),
            vpl_m=float(np.hypot(self.vpl_m, other.vpl_m)),
            ypl_deg=float(np.hypot(self.ypl_deg, other.ypl_deg)),
        )

    def or_worse(self, other: Levels) -> Levels:
        """The larger of each."""
        return Levels(
            hpl_m=max(self.hpl_m, other.hpl_m),
            vpl_m=max(self.vpl_m, other.vpl_m),
            ypl_deg=max(self.ypl_deg, other.ypl_deg),
        )


class IntegrityMonitor:
    """The last stage of every frame.

    points: None where networks hold the map. risk: chance that an error exceeds its protection
    level. alert_limit_m: protection levels beyond it make a pose DEGRADED. max_tilt_deg:
    between a pose's vertical and the frame's.
    """

    def __init__(
        self,
        points: PointMap | None,
        world: World,
        integrity: Integrity | None,
        *,
        risk: float,
        alert_limit_m: float | None,
        max_tilt_deg: float = 180.0,
    ) -> None:
        self._points = points
        self._world = world
        self._first = CAREFUL if integrity is None else integrity.first
        self._refined = CAREFUL if integrity is None else integrity.refined
        self._risk = risk
        self._alert_limit_m = alert_limit_m
        self._max_tilt_deg = max_tilt_deg

    def judge(
        self, estimate: PoseEstimate, matches: Correspondences, down: F64 | None = None
    ) -> PoseEstimate:
        """The estimate with what can be said of it.

        matches: those it speaks of. down (3,): `Frame.down`, where an IMU tells.
        """
        pose, covariance = estimate.cam_from_world, estimate.covariance
        if pose is None or covariance is None:
            return estimate
        tilt_deg = self._tilt_deg(pose, down)
        if tilt_deg > self._max_tilt_deg:
            return estimate.refused(
                f"the vertical of the pose is {tilt_deg:.1f} deg from where the frame says that "
                f"down is, at most {self._max_tilt_deg:.1f} are believed"
            )
        angles = self._angles(estimate, matches, pose)
        if angles is not None and self._is_behind(estimate, matches, pose, angles):
            return estimate.refused(
                f"{np.count_nonzero(angles >= FACING)} of {len(angles)} inliers are seen "
                f"from behind, where no mapping photo saw them: is the image mirrored?"
            )
        scale = self._scale(estimate)
        away = 0.0 if angles is None else float(np.median(angles))
        return replace(estimate, covariance=covariance * scale.variance(away))

    @property
    def has_levels(self) -> bool:
        """Whether the map has a metre and a vertical, without which there are none."""
        return self._world.metric and self._world.gravity is not None

    def protect(self, estimate: PoseEstimate, camera: CameraError | None) -> PoseEstimate:
        """The estimate that was judged, with its protection levels.

        camera: what its file may be wrong by; None where it is taken for exact.
        """
        pose, covariance = estimate.cam_from_world, estimate.covariance
        if pose is None or covariance is None or not self.has_levels:
            return estimate
        down, tail = np.array(self._world.gravity), self._scale(estimate).tail
        levels = protection_levels(pose, covariance, down, tail=tail, risk=self._risk)
        if camera is not None and camera.vouched:
            of_camera = normal_levels(pose, camera.covariance, down, risk=self._risk)
            levels = levels.and_beside(of_camera).beyond(pose, camera.shift, down)
        elif camera is not None:
            covariance = covariance + camera.covariance
            risk = min(self._risk / WRONG_FILE, 1.0)
            other = protection_levels(pose, covariance, down, tail=tail, risk=risk)
            levels = levels.or_worse(other.beyond(pose, camera.shift, down))
        estimate = replace(estimate, **vars(levels))
        limit, worst = self._alert_limit_m, max(levels.hpl_m, levels.vpl_m)
        if limit is None or worst <= limit:
            return estimate
        return replace(
            estimate,
            status=Status.DEGRADED,
            reason=f"the position may be {worst:.2f} m off, the alert limit is {limit:.2f} m",
        )

    def _tilt_deg(self, pose: Array, down: F64 | None) -> float:
        """Angle between the map's vertical and the frame's; 0 where one of them is unknown."""
        if down is None or self._world.gravity is None:
            return 0.0
        expected = pose[:3, :3] @ np.array(self._world.gravity)
        sine, cosine = np.linalg.norm(np.cross(expected, down)), float(expected @ down)
        return float(np.degrees(np.arctan2(sine, cosine)))

    def _angles(self, estimate: PoseEstimate, matches: Correspondences, pose: Array) -> F64 | None:
        if self._points is None or estimate.inlier_index is None or not len(estimate.inlier_index):
            return None
        return viewing_angles(self._points, matches.point_id[estimate.inlier_index], pose)

    def _is_behind(
        self, estimate: PoseEstimate, matches: Correspondences, pose: Array, angles: F64
    ) -> bool:
        assert self._points is not None and estimate.inlier_index is not None  # as for the angles
        ids = matches.point_id[estimate.inlier_index]
        return is_behind(self._points, ids, pose, angles)

    def _scale(self, estimate: PoseEstimate) -> CovarianceScale:
        return self._refined if estimate.refined else self._first


def protection_levels(
    cam_from_world: Array, covariance: F64, down: F64, *, tail: float, risk: float
) -> Levels:
    """Of a pose with a covariance (6,6) that holds 95 % of the errors; down (3,) in the world.

    The position's part of `true = Exp(delta) cam_from_world` is the camera's own displacement
    in its axes, so that both parts are turned into the world by the same rotation.
    """
    # Beyond the 95 % the share of larger errors falls as a power of their size.
    beyond = max(0.05 / risk, 1.0) ** (1.0 / tail)
    one = _deviations(cam_from_world, covariance, down)
    return Levels(
        hpl_m=beyond * PLANE_95 * one.hpl_m,
        vpl_m=beyond * AXIS_95 * one.vpl_m,
        ypl_deg=beyond * AXIS_95 * one.ypl_deg,
    )


def normal_levels(cam_from_world: Array, covariance: F64, down: F64, *, risk: float) -> Levels:
    """As `protection_levels`, of normal errors with the covariance (6,6)."""
    one = _deviations(cam_from_world, covariance, down)
    plane, axis = float(np.sqrt(-2 * np.log(risk))), NormalDist().inv_cdf(1 - risk / 2)
    return Levels(hpl_m=plane * one.hpl_m, vpl_m=axis * one.vpl_m, ypl_deg=axis * one.ypl_deg)


def _deviations(cam_from_world: Array, covariance: F64, down: F64) -> Levels:
    """Standard deviations: in the worst horizontal direction, along the vertical, around it."""
    world_from_cam = cam_from_world[:3, :3].T
    down = down / np.linalg.norm(down)
    position = world_from_cam @ covariance[3:, 3:] @ world_from_cam.T
    rotation = world_from_cam @ covariance[:3, :3] @ world_from_cam.T
    level = np.eye(3) - np.outer(down, down)
    return Levels(
        hpl_m=_root(float(np.linalg.eigvalsh(level @ position @ level)[-1])),
        vpl_m=_root(float(down @ position @ down)),
        ypl_deg=float(np.degrees(_root(float(down @ rotation @ down)))),
    )


def _root(variance: float) -> float:
    return float(np.sqrt(max(variance, 0.0)))
