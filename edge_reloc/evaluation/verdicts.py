"""Whether an answer is right, wrong, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arrays import F64, Array
from ..errors import ConfigError
from ..geometry.rigid import PoseError, normalised_error, pose_error
from ..structs import PoseEstimate, Status
from .claims import claim_of
from .stanford import Outcome, outcome_of
from .thresholds import TOLERANCES, thresholds_of


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Errors up to which a pose is right."""

    text: str
    #: map units
    translation: float
    rotation_deg: float
    #: median distance of the cameras from what they look at, map units
    scene_size: float

    def excess(self, error: PoseError) -> float:
        """The larger of the errors in units of what is allowed: right up to 1."""
        return max(error.translation / self.translation, error.rotation_deg / self.rotation_deg)


def tolerance_of(text: str | None, metric: bool, scene_size: float, where: str) -> Tolerance:
    """As it was written, or the usual one. ConfigError for more than one threshold."""
    thresholds = thresholds_of(TOLERANCES[metric] if text is None else text, metric, where)
    if len(thresholds) > 1 or min(thresholds[0].translation, thresholds[0].rotation_deg) <= 0:
        raise ConfigError(
            f"thresholds '{text}': expected one, above 0, beyond which a pose is wrong, such as "
            f"{TOLERANCES[metric]}"
        )
    (only,) = thresholds
    return Tolerance(
        text=only.text,
        translation=only.limit(scene_size),
        rotation_deg=only.rotation_deg,
        scene_size=scene_size,
    )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one answer is worth."""

    #: of the photo that the frame was made of
    photo: str
    #: that the frame belongs to, counted from 0
    number: int
    #: the localiser calls its pose OK
    ok: bool
    #: it has one that is
    right: bool
    #: to the nearest pose that is right, map units; None where no pose is, or none was given
    error: float | None
    error_deg: float | None
    #: the same in claimed standard deviations: the square root of the normalised error
    #: squared, which for six true ones is 2.3 in the median
    sigmas: float | None
    #: errors and protection levels: horizontal and vertical (metres), heading (degrees); None
    #: where the map has no metre or no vertical, and of errors where no pose is right
    errors: tuple[float, float, float] | None
    levels: tuple[float, float, float] | None
    outcome: Outcome
    inliers: int
    matches: int

    @property
    def wrong(self) -> bool:
        """Called OK, and not right."""
        return self.ok and not self.right


def judge(
    estimate: PoseEstimate,
    right: Sequence[Array],
    tolerance: Tolerance,
    number: int = 0,
    *,
    down: F64 | None = None,
    alert_limit_m: float | None = None,
) -> Verdict:
    """Compare an answer with the poses that are right, of which there may be none.

    down (3,): in the world, None where the map has no vertical.
    """
    cam_from_world = estimate.cam_from_world
    error: PoseError | None = None
    sigmas, claim = None, None
    if cam_from_world is not None and right:
        errors = [pose_error(cam_from_world, pose) for pose in right]
        nearest = min(range(len(right)), key=lambda i: tolerance.excess(errors[i]))
        error = errors[nearest]
        if estimate.covariance is not None:
            squared = normalised_error(cam_from_world, estimate.covariance, right[nearest])
            sigmas = float(np.sqrt(squared))
        claim = claim_of(estimate, right[nearest], down)
    hpl, vpl, ypl = estimate.hpl_m, estimate.vpl_m, estimate.ypl_deg
    return Verdict(
        photo=estimate.name,
        number=number,
        ok=estimate.status is Status.OK,
        right=error is not None and tolerance.excess(error) <= 1.0,
        error=error.translation if error else None,
        error_deg=error.rotation_deg if error else None,
        sigmas=sigmas,
        errors=None if claim is None else claim.error,
        levels=None if hpl is None or vpl is None or ypl is None else (hpl, vpl, ypl),
        outcome=outcome_of(estimate, claim, alert_limit_m),
        inliers=estimate.inliers,
        matches=estimate.matches,
    )
