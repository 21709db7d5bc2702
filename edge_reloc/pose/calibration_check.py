"""Whether a camera file agrees with what the frames of its camera show.

What the matches of a frame say of its camera (camera_refit.py) is added up over the frames of
that camera; where it contradicts the file beyond doubt, poses are wrong without looking so, and
are refused. Frames err together, as the map does, so that many of them know little more than a
few.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arrays import F64, I32
from ..geometry.camera import Camera
from ..structs import Correspondences, PoseEstimate
from .camera_refit import FEWEST, TOLERANCE, Belief, Refit, pose_by_number, refit
from .refine import reprojection_error_px

log = logging.getLogger(__name__)

MAP_ERROR = np.where(np.isfinite(TOLERANCE), TOLERANCE, 0.0)
BENT = 5.0  # times as much where a network says where points lie: it bends a whole frame
ALONE = 7.0  # standard deviations that one frame's word must be off by
TOGETHER, SEVERAL = 5.0, 3  # the same of that many frames or more, whose scatter is known
SHARED = 0.1  # correlation of the errors of two frames
MEMORY = 50  # frames that evidence fades in
CALM, NOW_AND_THEN = 20, 10  # frames without doubt, after which one of so many is asked
CALM_DOUBT = 0.6  # of what refuses a frame
CAMERAS = 8  # whose evidence is kept

# Frames from elsewhere than mapping say less of a wrong camera than is true. Of 88 poses of
# left-out photos of three maps that were told wrong cameras and passed every check, none is
# beyond levels with a factor of 1; frames look from farther away.
PULL = 2.0
# Share of a camera's error that nine of ten left-out photos show by what was found around the
# pose that it suits (kitchen; half of them show four fifths).
SHOWN = 0.25
FEW = 300  # inliers that tell how a pose moves with its camera
MOST = 500  # matches of a frame that are looked at

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
        self,
        camera: Camera,
        matches: Correspondences,
        estimate: PoseEstimate,
        unguided: Correspondences | None = None,
    ) -> PoseEstimate:
        """The estimate, or a refusal that names what the file and the frames say.

        matches: that the estimate speaks of. unguided: those of the frame that no pose has
        chosen, where there are such; around a pose of a wrong camera only what suits it is
        found. A frame is refused for what it shows itself, or for what it and those before it
        show together.
        """
        if estimate.cam_from_world is None or estimate.inlier_index is None:
            return estimate
        evidence, alone = self._of(camera), None
        if evidence.due():
            own = _refit(camera, matches, estimate, matches if unguided is None else unguided)
            if own is not None:
                alone = evidence.add(own)
            elif unguided is not None:  # which are too few
                own = _refit(camera, matches, estimate, matches)
                if own is not None:
                    alone = own.belief()
                    evidence.add(own.shown_in_part(SHOWN))
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
        rows = _most_alike(matches, inliers, FEW)
        by_number = pose_by_number(camera, pose, matches.xy_px[rows], matches.xyz_world[rows])
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
    camera: Camera, matches: Correspondences, estimate: PoseEstimate, asked: Correspondences
) -> Refit | None:
    """By the matches asked; those that the estimate speaks of tell what an inlier is."""
    pose, inliers = estimate.cam_from_world, estimate.inlier_index
    if pose is None or inliers is None or len(inliers) < FEWEST:
        return None
    errors = reprojection_error_px(camera, pose, matches.xy_px[inliers], matches.xyz_world[inliers])
    rows = _most_alike(asked, np.arange(asked.n, dtype=np.int32), MOST)
    xy, xyz = asked.xy_px[rows], asked.xyz_world[rows]
    return refit(camera, pose, xy, xyz, float(errors.max()))


def _most_alike(matches: Correspondences, rows: I32, most: int) -> I32:
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.argpartition(-matches.weight[rows], most)[:most]])


def _bent(matches: Correspondences, inliers: I32) -> float:
    """How much more than a map's points those of the inliers may be off together."""
    return BENT if (matches.point_id[inliers] < 0).any() else 1.0


def _vouched(numbers: F64, covariance: F64, error_share: float) -> tuple[F64, F64]:
    """What frames say and what somebody vouches for, put together: normal errors of both."""
    prior = error_share**2 * np.eye(4)
    gain = prior @ np.linalg.inv(covariance + prior)
    return gain @ numbers, prior - gain @ prior


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
