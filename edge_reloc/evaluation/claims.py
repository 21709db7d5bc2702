"""Whether poses are as exact as they claim, frame by frame.

A frame is nominal where its error stays below its protection level, misleading where it does
not, and unavailable where the level exceeds the alert limit: the Stanford diagram (Tossaint et
al., ION GNSS 2007).

Along each axis an error divided by its standard deviation is a normal number where the
covariance tells the truth. Its mean square (normalised estimation error squared, NEES: Bar-Shalom
et al., Estimation with Applications to Tracking and Navigation, 2001) is 1, and its probability
integral transform (PIT: Dawid, JRSS A, 1984) is uniform between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import erf, sqrt
from typing import NamedTuple

import numpy as np

from ..arrays import F64, Array
from ..geometry.rigid import (
    NORMALISED_95,
    camera_centre,
    error_vector,
    normalised_error,
    rotation_vector,
)
from ..structs import PoseEstimate

#: of a pose, in the camera's axes, in the order of its covariance
AXES = tuple(f"{part} {axis}" for part in ("rotation", "position") for axis in "xyz")


class Claim(NamedTuple):
    """One pose: what it claims and what is true. Map units, metres where there are levels."""

    #: position's standard deviation in all three directions together
    sigma: float
    #: whether the error lies where the covariance says that 95 % do
    covered: bool
    #: error in standard deviations along each of AXES
    along: tuple[float, ...]
    #: horizontal, vertical (metres), heading (degrees); None where there are no levels
    error: tuple[float, float, float] | None = None
    level: tuple[float, float, float] | None = None

    @property
    def misleading(self) -> bool:
        """Whether an error exceeds its protection level."""
        if self.error is None or self.level is None:
            return False
        return any(e > level for e, level in zip(self.error, self.level, strict=True))


def claim_of(estimate: PoseEstimate, reference: Array, down: F64 | None) -> Claim | None:
    """None without a pose. reference (4,4): the true cam_from_world; down (3,) in the world."""
    pose, covariance = estimate.cam_from_world, estimate.covariance
    if pose is None or covariance is None:
        return None
    sigma = float(np.sqrt(np.trace(covariance[3:, 3:])))
    covered = normalised_error(pose, covariance, reference) <= NORMALISED_95
    along = error_vector(pose, reference) / np.sqrt(np.diag(covariance))
    claim = Claim(sigma, covered, tuple(along.tolist()))
    levels = estimate.hpl_m, estimate.vpl_m, estimate.ypl_deg
    hpl, vpl, ypl = levels
    if down is None or hpl is None or vpl is None or ypl is None:
        return claim
    away = camera_centre(pose) - camera_centre(reference)
    vertical = float(away @ down)
    turned = rotation_vector(pose[:3, :3].T @ reference[:3, :3])
    error = (
        float(np.linalg.norm(away - vertical * down)),
        abs(vertical),
        abs(float(np.degrees(turned @ down))),
    )
    return claim._replace(error=error, level=(hpl, vpl, ypl))


def nees_by_axis(claims: Sequence[Claim]) -> dict[str, float] | None:
    """Mean square along each of AXES; None without claims."""
    if not claims:
        return None
    return dict(zip(AXES, np.square([c.along for c in claims]).mean(axis=0).tolist(), strict=True))


def pit(claims: Sequence[Claim]) -> F64:
    """Probability integral transforms (N,6), 0..1, along AXES."""
    return np.array([[0.5 * (1.0 + erf(x / sqrt(2.0))) for x in c.along] for c in claims])
