"""From where the map's points were seen, and from where a pose looks at them."""

from __future__ import annotations

import numpy as np

from ..arrays import F64, I32
from ..bundle.points import PointMap
from ..geometry.rigid import Array, camera_centre

# A point that cameras saw from all around says nothing; of one that a few saw from about the
# same place the mean is nearly of unit length.
LEAST_LENGTH = 0.2


def viewing_angles(points: PointMap, ids: I32, cam_from_world: Array) -> F64 | None:
    """Angles (M,) in radians between the rays to a camera and those of the mapping photos.

    ids (M,): of points that the pose claims to see. Points that were seen from all around count
    as 0. None where the map does not tell directions.
    """
    if points.direction is None:
        return None
    ray = camera_centre(cam_from_world) - np.asarray(points.xyz[ids], np.float64)
    ray /= np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-12)
    mean = np.asarray(points.direction[ids], np.float64) / 127.0
    length = np.linalg.norm(mean, axis=1)
    cosine = (ray * mean).sum(axis=1) / np.maximum(length, 1e-12)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    return np.where(length < LEAST_LENGTH, 0.0, angle)
