"""What the uncertainty of map points adds to their residuals.

A point is known well across the mean ray to the photos it was made of, and badly along it:
seen from elsewhere, that is a displacement in the image, in one direction. With keypoints
that are off by s in every direction a residual's covariance is s^2 I + J Sigma J^T (Hartley and
Zisserman, Multiple View Geometry, 2nd ed., chapter 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import F64, I32, Array, Bool
from ..bundle.points import PointMap

MEDIAN_OF_PLANE = 1.177  # median distance of normal errors in a plane, in standard deviations
LEAST_NOISE_PX = 0.3


class PointNoise(NamedTuple):
    """Of M points: standard deviations (M,) across and along directions (3,M), in the world."""

    across: F64
    along: F64
    direction: F64

    def take(self, rows: Bool) -> PointNoise:
        """Of some of them."""
        return PointNoise(self.across[rows], self.along[rows], self.direction[:, rows])


class Whitening(NamedTuple):
    """Takes residuals of M points to errors that are alike, in pixels.

    By `scale` (M,), and by 1 - `shrink` (M,) more along a unit vector (2,M) in the image.
    """

    scale: F64
    shrink: F64
    axis: F64

    def apply(self, rows: F64) -> None:
        """Replace rows (R,2,M), each of them pixels of the points, by what they count."""
        along = (rows[:, 0] * self.axis[0] + rows[:, 1] * self.axis[1]) * self.shrink
        rows[:, 0] -= along * self.axis[0]
        rows[:, 1] -= along * self.axis[1]
        rows *= self.scale


def noise_of(points: PointMap, ids: I32) -> PointNoise | None:
    """Of the points ids (M,); None where the map does not tell."""
    if points.sigma is None or points.direction is None:
        return None
    across, along = np.asarray(points.sigma[ids], np.float64).T
    direction = np.asarray(points.direction[ids], np.float64).T
    direction /= np.maximum(np.sqrt((direction * direction).sum(axis=0)), 1.0)
    return PointNoise(across, along, direction)


def whitening(noise: PointNoise, rotation: Array, by_point: F64, error_px: F64) -> Whitening:
    """For points that a camera sees.

    rotation (3,3): cam_from_world. by_point (3,2,M): d pixel / d point in the camera. error_px
    (M,): lengths of the residuals, which tell how exact this frame's keypoints are.
    """
    keypoint_px = max(float(np.median(error_px)) / MEDIAN_OF_PLANE, LEAST_NOISE_PX)
    ray = rotation @ noise.direction
    seen = by_point[0] * ray[0] + by_point[1] * ray[1] + by_point[2] * ray[2]  # (2,M)
    # Across the ray a point's error is about as large in every direction of the image.
    px_per_unit2 = 0.5 * np.square(by_point).sum(axis=(0, 1))
    across2, along2 = np.square(noise.across), np.square(noise.along)
    every_way = 1.0 + across2 * px_per_unit2 / keypoint_px**2
    length2 = (seen * seen).sum(axis=0)
    one_way = np.maximum(along2 - across2, 0.0) * length2 / keypoint_px**2
    return Whitening(
        scale=1.0 / np.sqrt(every_way),
        shrink=1.0 - np.sqrt(every_way / (every_way + one_way)),
        axis=seen / np.sqrt(np.maximum(length2, 1e-24)),
    )
