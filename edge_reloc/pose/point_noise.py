"""What the uncertainty of map points adds to their residuals.

A point is known well across the mean ray to the photos it was made of, and badly along it:
seen from elsewhere, that is a displacement in the image, in one direction. With keypoints
that are off by s in every direction a residual's covariance is s^2 I + J Sigma J^T (Hartley and
Zisserman, Multiple View Geometry, 2nd ed., chapter 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import F64, I32, Array
from ..bundle.points import PointMap

# Median of squared lengths of normal errors in a plane, in variances along one axis.
MEDIAN_SQUARE = 1.386
LEAST_NOISE_PX2 = 0.1


class PointNoise(NamedTuple):
    """Of M points: variance (M,) in every direction, and (M,) more along rays (3,M).

    In the world. The rays are of any length, and what is more along them is for their length 1.
    """

    every_way: F64
    along: F64
    ray: F64


class Precision(NamedTuple):
    """Inverse covariances of the residuals of M points: weight (I - less axis axis^T).

    weight, less (M,), unit vectors axis (2,M) in the image. Where all points are exact the
    weight is 1.
    """

    weight: F64
    less: F64
    axis: F64

    def along(self, rows: F64) -> F64:
        """Rows (..., 2,M) of vectors in the image, along the axes: (..., M)."""
        return np.asarray(rows[..., 0, :] * self.axis[0] + rows[..., 1, :] * self.axis[1])

    def whitened(self, residual: F64) -> F64:
        """Residuals (2,M) as errors that are alike."""
        shrink = (1.0 - np.sqrt(1.0 - self.less)) * self.along(residual)
        return np.asarray(np.sqrt(self.weight) * (residual - shrink * self.axis))


def noise_of(points: PointMap, ids: I32) -> PointNoise | None:
    """Of the points ids (M,); None where the map does not tell."""
    if points.sigma is None or points.direction is None:
        return None
    every_way, along = np.square(points.sigma[ids].T.astype(np.float64))
    ray = points.direction[ids].T.astype(np.float64)
    length2 = np.maximum((ray * ray).sum(axis=0), 1.0)
    return PointNoise(every_way, np.maximum(along - every_way, 0.0) / length2, ray)


def precision(noise: PointNoise, rotation: Array, by_point: F64, squared_px: F64) -> Precision:
    """For points that a camera sees.

    rotation (3,3): cam_from_world. by_point (3,2,M): d pixel / d point in the camera.
    squared_px (M,): squares of the residuals, which tell how exact this frame's keypoints are.
    """
    keypoint_px2 = max(float(np.median(squared_px)) / MEDIAN_SQUARE, LEAST_NOISE_PX2)
    ray = rotation @ noise.ray
    axis = by_point[0] * ray[0]
    axis += by_point[1] * ray[1]
    axis += by_point[2] * ray[2]
    length2 = np.maximum(axis[0] * axis[0] + axis[1] * axis[1], 1e-24)
    # Across the ray a point's error is about as large in every direction of the image.
    px_per_unit2 = 0.5 * (by_point[0, 0] * by_point[0, 0] + by_point[1, 1] * by_point[1, 1])
    every_way = 1.0 + noise.every_way * px_per_unit2 / keypoint_px2
    one_way = noise.along * length2 / keypoint_px2
    axis /= np.sqrt(length2)
    return Precision(1.0 / every_way, one_way / (every_way + one_way), axis)
