"""Whether a camera file agrees with what the frames of its camera show.

The inliers of a frame fit its pose and four numbers of the camera at once: a factor on both
focal lengths, the principal point, and one radial stretch. What they say of the four, the
pose left out, is added up over the frames of a camera; where that contradicts the file beyond
doubt, poses are wrong without looking so, and are refused.

A frame may say nothing: of a flat wall seen from the front, focal length and distance trade.
Frames err together, as the map does, so that many of them know little more than a few.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arrays import F64, I32
from ..geometry.camera import Camera
from ..geometry.rigid import compose, so3_exp
from ..structs import Correspondences, PoseEstimate
from .refine import MIN_DEPTH, MIN_SIGMA_PX, cluster_inflation, project

log = logging.getLogger(__name__)

# The four numbers, 0 where the file is right: logarithm of the factor on the focal lengths,
# principal point (two) in focal lengths, radial stretch at 45 degrees.
PRIOR = np.diag(1.0 / np.square([1.0, 0.1, 0.1, 0.1]))  # what cameras may be at all
#: what the number of a right file may differ by where the map is slightly wrong
TOLERANCE = np.array([0.004, 0.01, 0.01, np.inf])
MAP_ERROR = np.where(np.isfinite(TOLERANCE), TOLERANCE, 0.0)
BENT = 5.0  # times as much where a network says where points lie: it bends a whole frame
ALONE = 7.0  # standard deviations that one frame's word must be off by
TOGETHER, SEVERAL = 5.0, 3  # the same of that many frames or more, whose scatter is known
SHARED = 0.1  # correlation of the errors of two frames
MEMORY = 50  # frames that evidence fades in
CALM, NOW_AND_THEN = 20, 10  # frames without doubt, after which one of so many is asked
CALM_DOUBT = 0.6  # of what refuses a frame
CAMERAS = 8  # whose evidence is kept

# A wrong camera chooses the inliers that suit it, so that they say less of it than is true. Of
# 182 poses of left-out photos of three maps that were told wrong cameras and passed every check,
# 181 are held by levels with this factor, 180 with 2.
PULL = 3.0
MOST_ALIKE = 2 / 3  # of the inliers: those of a wrong camera are partly wrong
MOST, FEWEST = 300, 30  # inliers of a frame that are looked at
NARROW = 0.4  # scale of the Cauchy weights in median errors: finds what fits the right camera
WIDE = 1.5  # the same, to say how sure that is
STEPS = 10


class Belief(NamedTuple):
    """The four numbers and their covariance (4,4)."""

    numbers: F64
    covariance: F64

    @property
    def sigma(self) -> F64:
        """Standard deviations (4,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def doubts(self, tolerance: F64 = TOLERANCE) -> F64:
        """How far the numbers lie from a right file's, in standard deviations (4,)."""
        return np.asarray(np.abs(self.numbers) / np.hypot(self.sigma, tolerance))


class Refit(NamedTuple):
    """What matches say of the four numbers: information (4,4), information @ estimate (4,)."""

    information: F64
    weighted: F64

    def belief(self, inflation: float = 1.0) -> Belief:
        """Inflation: of the variances."""
        covariance = np.asarray(np.linalg.inv(self.information / inflation + PRIOR), np.float64)
        return Belief(covariance @ self.weighted / inflation, covariance)


#: of a camera that no frame was asked about
UNASKED = Refit(np.zeros((4, 4)), np.zeros(4)).belief()


class CameraError(NamedTuple):
    """By how much a wrong camera file moves a pose, in the terms of its covariance.

    shift (6,): if the numbers are PULL times what frames say. covariance (6,6): of what they do
    not say. vouched: somebody knows how far off the file may be; else it may be any camera's.
    """

    shift: F64
    covariance: F64
    vouched: bool = False


class _System(NamedTuple):
    """Normal equations (10,10), (10,) of pose and numbers, and the weights (M,) behind them."""

    normal: F64
    gradient: F64
    weight: F64
    variance: float


def refit(camera: Camera, cam_from_world: F64, xy_px: F64, xyz_world: F64) -> Refit | None:
    """Fit pose and camera to inliers xy_px (M,2), xyz_world (M,3); None when degenerate.

    Gauss-Newton to where the rest is linear. The weights are narrow, since of the inliers of a
    wrong camera only those that are right agree exactly, once the camera is mended.
    """
    world, observed = np.ascontiguousarray(xyz_world.T), np.ascontiguousarray(xy_px.T)
    rows = np.empty((11, 2, len(xy_px)))  # the Jacobian and, last, the residual
    pose: F64 = cam_from_world
    numbers: F64 = np.zeros(4)
    try:
        for left in reversed(range(STEPS)):
            if not _linearise(camera, pose, numbers, world, observed, rows):
                return None
            at = _weigh(rows, NARROW)
            prior = at.variance * PRIOR
            at.normal[6:, 6:] += prior
            at.gradient[6:] += prior @ numbers
            step = -np.linalg.solve(at.normal, at.gradient)
            if not np.isfinite(step).all():
                return None
            if left == 0 or -at.gradient @ step < at.variance:  # within its own uncertainty
                break
            pose = compose(so3_exp(step[:3]), step[3:6]) @ pose
            numbers = numbers + step[6:]
        at = _weigh(rows, WIDE)
        by_pose = np.linalg.solve(at.normal[:6, :6], at.normal[:6, 6:])
    except np.linalg.LinAlgError:
        return None
    noise = 2 * at.variance * float(at.weight @ at.weight)
    inflation = cluster_inflation(camera, observed, rows[10] * at.weight, noise)
    scale = 1.0 / (at.variance * inflation)
    information = (at.normal[6:, 6:] - at.normal[6:, :6] @ by_pose) * scale
    slope = (at.gradient[6:] - at.gradient[:6] @ by_pose) * scale
    return Refit(information, information @ numbers - slope)


def _linearise(
    camera: Camera, pose: F64, numbers: F64, world: F64, observed: F64, rows: F64
) -> bool:
    """Fill rows (11,2,M) with Jacobian and residual; False when points lie behind."""
    xyz = pose[:3, :3] @ world + pose[:3, 3:]
    if (xyz[2] < MIN_DEPTH).any():
        return False
    focal = np.array([[camera.fx], [camera.fy]])
    centre = np.array([[camera.cx], [camera.cy]])
    away = project(camera, xyz, rows[:6]) - centre
    plane = away / focal
    radius2 = plane[0] * plane[0] + plane[1] * plane[1]
    factor = np.exp(numbers[0])
    stretch = factor * (1.0 + numbers[3] * radius2)
    rows[:6] *= stretch
    rows[6] = away * stretch
    rows[7:9] = 0.0
    rows[7, 0], rows[8, 1] = camera.fx, camera.fy
    rows[9] = factor * away * radius2
    rows[10] = rows[6] + centre + focal * numbers[1:3, None] - observed
    return True


def _weigh(rows: F64, narrowness: float) -> _System:
    """Cauchy weights of a scale in median errors, and what they make of the rows."""
    residual = rows[10]
    squared = residual[0] * residual[0] + residual[1] * residual[1]
    middle = len(squared) // 2
    median = float(np.partition(squared, middle)[middle])
    scale2 = max(narrowness**2 * median, MIN_SIGMA_PX**2)
    weight = 1.0 / (1.0 + squared / scale2)
    system = (rows[:10] * weight).reshape(10, -1) @ rows.reshape(11, -1).T
    freedom = max(2.0 * float(weight.sum()) - 10.0, 1.0)
    variance = max(float(weight @ squared) / freedom, MIN_SIGMA_PX**2)
    return _System(system[:, :10], system[:, 10], weight, variance)


class Evidence:
    """What the frames of one camera say of it, added up."""

    def __init__(self) -> None:
        self._sum = Refit(np.zeros((4, 4)), np.zeros(4))
        self._agreement = 0.0  # sum of estimate @ information @ estimate
        self._weight = self._weight2 = 0.0
        self._asked = self._calm = 0
        #: of all of them, errors that they share included
        self.said = UNASKED
        #: that said something, so far
        self.frames = 0
        #: the same, from the third on: what a file may be refused for
        self.belief: Belief | None = None

    def due(self) -> bool:
        """Whether the next frame should be asked."""
        self._asked += 1
        return self._calm < CALM or self._asked % NOW_AND_THEN == 0

    def add(self, refit: Refit) -> Belief:
        """One more frame, and what it says alone; the older ones fade."""
        kept = 1.0 - 1.0 / MEMORY
        alone = refit.belief()
        weight = float(alone.sigma[0] ** -2)
        self._sum = Refit(
            kept * self._sum.information + refit.information,
            kept * self._sum.weighted + refit.weighted,
        )
        self._agreement = kept * self._agreement + float(refit.weighted @ alone.numbers)
        self._weight = kept * self._weight + weight
        self._weight2 = kept * self._weight2 + weight * weight
        self.frames += 1
        self._tell()
        doubts = [alone.doubts().max() / ALONE]
        if self.belief is not None:
            doubts.append(self.belief.doubts().max() / TOGETHER)
        self._calm = self._calm + 1 if max(doubts) < CALM_DOUBT else 0
        return alone

    def _tell(self) -> None:
        self.said = self._together() if self.frames else UNASKED
        self.belief = self.said if self.frames >= SEVERAL else None

    def _together(self) -> Belief:
        equal = self._weight**2 / self._weight2  # frames of equal weight that this comes to
        scatter = self._agreement - float(self._sum.weighted @ self._sum.belief().numbers)
        scatter = max(scatter / (4.0 * max(equal - 1.0, 0.1)), 1.0)
        return self._sum.belief(scatter * (1.0 + SHARED * (equal - 1.0)))

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        return {
            "information": self._sum.information,
            "weighted": self._sum.weighted,
            "agreement": self._agreement,
            "weights": (self._weight, self._weight2),
            "counts": (self._asked, self._calm, self.frames),
        }

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        information = np.array(recalled["information"], np.float64).reshape(4, 4)
        self._sum = Refit(information, np.array(recalled["weighted"], np.float64).reshape(4))
        self._agreement = float(recalled["agreement"])
        self._weight, self._weight2 = (float(weight) for weight in recalled["weights"])
        self._asked, self._calm, self.frames = (int(count) for count in recalled["counts"])
        self._tell()


class CalibrationCheck:
    """Refuses poses of a camera whose file its own frames contradict.

    Keeps the evidence of the last few cameras, equal ones together, in memory that does not
    grow with the frames. error_share: standard deviation that somebody vouches for, of the
    logarithm of the focal length and of the other numbers; None where nobody does.
    """

    def __init__(self, error_share: float | None = None) -> None:
        self._error_share = error_share
        self._evidence: OrderedDict[Camera, Evidence] = OrderedDict()
        self._warned: set[Camera] = set()

    def judge(
        self, camera: Camera, matches: Correspondences, estimate: PoseEstimate
    ) -> PoseEstimate:
        """The estimate, or a refusal that names what the file and the frames say.

        matches: that the estimate speaks of. A frame is refused for what it shows itself, or
        for what it and those before it show together.
        """
        if estimate.cam_from_world is None or estimate.inlier_index is None:
            return estimate
        evidence, own = self._of(camera), None
        if evidence.due():
            own = _refit(camera, matches, estimate.cam_from_world, estimate.inlier_index)
        alone = None if own is None else evidence.add(own)
        bent = _bent(matches, estimate.inlier_index)
        reason = _contradiction(camera, evidence.belief, evidence.frames, TOGETHER, TOLERANCE)
        reason = reason or _contradiction(camera, alone, 1, ALONE, bent * TOLERANCE)
        if reason is None:
            return estimate
        if camera not in self._warned and len(self._warned) < CAMERAS:
            self._warned.add(camera)
            log.warning("poses are refused: %s", reason)
        return estimate.refused(reason)

    def error(
        self, camera: Camera, matches: Correspondences, estimate: PoseEstimate
    ) -> CameraError | None:
        """Of a pose that was judged; None where it has none, or its points say nothing of it."""
        pose, inliers = estimate.cam_from_world, estimate.inlier_index
        if pose is None or inliers is None:
            return None
        rows = _most_alike(matches, inliers)
        by_number = _pose_by_number(camera, pose, matches.xy_px[rows], matches.xyz_world[rows])
        if by_number is None:
            return None
        said, bent = self._of(camera).said, _bent(matches, inliers)
        numbers = said.numbers
        covariance = said.covariance + np.diag(np.square(bent * MAP_ERROR))
        if self._error_share is not None:
            numbers, covariance = _vouched(numbers, covariance, self._error_share)
        return CameraError(
            PULL * by_number @ numbers,
            by_number @ covariance @ by_number.T,
            vouched=self._error_share is not None,
        )

    def recall(self) -> dict[str, Any]:
        """What `resume` takes; arrays are shared."""
        return {
            "evidence": [(c.to_dict(), e.recall()) for c, e in self._evidence.items()],
            "warned": [camera.to_dict() for camera in self._warned],
        }

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self._evidence.clear()
        for values, evidence in recalled["evidence"][:CAMERAS]:
            self._of(Camera.from_dict(values)).resume(evidence)
        self._warned = {Camera.from_dict(values) for values in recalled["warned"][:CAMERAS]}

    def _of(self, camera: Camera) -> Evidence:
        evidence = self._evidence.setdefault(camera, Evidence())
        self._evidence.move_to_end(camera)
        if len(self._evidence) > CAMERAS:
            self._evidence.popitem(last=False)
        return evidence


def _refit(
    camera: Camera, matches: Correspondences, cam_from_world: F64, inliers: I32
) -> Refit | None:
    """On the inliers that are most alike; None where there are too few."""
    if len(inliers) < FEWEST:
        return None
    rows = _most_alike(matches, inliers)
    return refit(camera, cam_from_world, matches.xy_px[rows], matches.xyz_world[rows])


def _most_alike(matches: Correspondences, inliers: I32) -> I32:
    keep = min(max(int(MOST_ALIKE * len(inliers)), FEWEST), MOST)
    if keep >= len(inliers):
        return inliers
    return np.asarray(inliers[np.argpartition(-matches.weight[inliers], keep)[:keep]])


def _bent(matches: Correspondences, inliers: I32) -> float:
    """How much more than a map's points those of the inliers may be off together."""
    return BENT if (matches.point_id[inliers] < 0).any() else 1.0


def _vouched(numbers: F64, covariance: F64, error_share: float) -> tuple[F64, F64]:
    """What frames say and what somebody vouches for, put together: normal errors of both."""
    prior = error_share**2 * np.eye(4)
    gain = prior @ np.linalg.inv(covariance + prior)
    return gain @ numbers, prior - gain @ prior


def _pose_by_number(camera: Camera, pose: F64, xy_px: F64, xyz_world: F64) -> F64 | None:
    """How a pose that fits its inliers moves with the numbers of its camera (6,4)."""
    world, observed = np.ascontiguousarray(xyz_world.T), np.ascontiguousarray(xy_px.T)
    rows = np.empty((11, 2, len(xy_px)))
    if not _linearise(camera, pose, np.zeros(4), world, observed, rows):
        return None
    normal = _weigh(rows, WIDE).normal
    try:
        return np.asarray(-np.linalg.solve(normal[:6, :6], normal[:6, 6:]))
    except np.linalg.LinAlgError:
        return None


def _contradiction(
    camera: Camera, belief: Belief | None, frames: int, beyond_doubt: float, tolerance: F64
) -> str | None:
    """What a person is told where the file must be wrong, else None."""
    if belief is None:
        return None
    doubts = belief.doubts(tolerance)
    worst = int(np.argmax(doubts))
    if doubts[worst] < beyond_doubt:
        return None
    numbers, sigma = belief.numbers, belief.sigma
    focal = camera.fx * float(np.exp(numbers[0]))
    name, filed, seen, unit = (
        ("fx", camera.fx, focal, focal),
        ("cx", camera.cx, camera.cx + camera.fx * numbers[1], camera.fx),
        ("cy", camera.cy, camera.cy + camera.fy * numbers[2], camera.fy),
    )[worst]
    who = "the matches of this frame say" if frames == 1 else f"the matches of {frames} frames say"
    return (
        f"at {camera.width}x{camera.height} the camera file says {name} {filed:.1f} px, {who} "
        f"{seen:.1f} +- {unit * sigma[worst]:.1f} px: calibrate the camera with "
        f"'edge-reloc calibrate'"
    )
