"""From where the map's points were seen, and from where a pose looks at them."""

from __future__ import annotations

import numpy as np

from ..arrays import F64, I32
from ..bundle.points import PointMap
from ..geometry.rigid import Array, camera_centre

# A point that cameras saw from all around says nothing; of one that a few saw from about the
# same place the mean is nearly of unit length.
LEAST_LENGTH = 0.2


# Share of the inliers that is seen from within 90 degrees of where mapping saw it: of 150
# mapping photos of five places, localised in their own maps, at least 0.98.
LEAST_IN_FRONT = 0.8
FACING = 0.5 * np.pi
# Standard deviations of the points from their plane. Right poses of 77 left-out photos of a facade
# and of a field lie 5 or more of them before it, their mirror images 28 or more behind.
FLAT = 3.0


def is_behind(points: PointMap, ids: I32, cam_from_world: Array, angles: F64) -> bool:
    """Whether a camera sees points from where mapping cannot have seen them.

    ids (M,), angles (M,) of `viewing_angles`. A wall that was mapped from one end is rightly
    seen from the other, more than 90 degrees away: there mapping and camera lie on the same
    side of the plane of the points, clearly outside their scatter about it.
    """
    if points.direction is None or np.mean(angles < FACING) >= LEAST_IN_FRONT:
        return False
    xyz = np.asarray(points.xyz[ids], np.float64)
    middle = np.median(xyz, axis=0)
    scatter, axes = np.linalg.eigh((xyz - middle).T @ (xyz - middle) / len(ids))
    normal = axes[:, 0]
    mapped = np.asarray(points.direction[ids], np.float64).sum(axis=0) @ normal
    own = (camera_centre(cam_from_world) - middle) @ normal
    return bool(np.sign(mapped) * own <= FLAT * np.sqrt(max(scatter[0], 0.0)))


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
