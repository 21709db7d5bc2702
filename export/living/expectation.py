"""Which map points a photo should show, and which of them it does show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F32, F64, I64, Bool

from ..scene.model import SceneModel
from ..scene.triangulate import sum_by
from ..scene.view_geometry import ViewGeometry

SEARCH_PX = 2.5  # at 1024 px, as observations are accepted in triangulation
ROUGH_PX = 6.0  # before a pose is refined
NEAREST_KEYPOINTS = 4
BORDER_PX = 8.0
SIMILARITY_QUANTILE = 0.1  # of the observations of mapping
NEARER, FARTHER = 0.8, 1.25  # beyond the distances that a point was seen from
BEYOND_DEG = 10.0  # and beyond the directions
HIDING_SHARE, HIDING_PX, HIDING_NEAREST = 0.85, 50.0, 4


@dataclass(frozen=True, kw_only=True)
class KnownPoints:
    """P points and from where they were seen."""

    xyz: F64  #: (P,3)
    descriptor: NDArray[np.float16]  #: (P,D), of unit length
    normal: F64  #: (P,3), mean direction to the cameras
    cosine: F64  #: (P,): of the largest angle to it that is expected to show the point
    near: F64  #: (P,), least distance
    far: F64  #: (P,)
    similarity: float  #: with a point's descriptor, of nine tenths of its observations

    def expected(self, geometry: ViewGeometry, view: int) -> tuple[I64, F64]:
        """Points that a photo should show, if nothing hides them, and their pixels (·,2)."""
        rows, xy = geometry.visible(view, self.xyz)
        camera = geometry.cameras[geometry.camera_of[view]]
        ray = geometry.centre[view] - self.xyz[rows]
        distance = np.linalg.norm(ray, axis=1)
        cosine = (ray * self.normal[rows]).sum(axis=1) / np.maximum(distance, 1e-12)
        inside = (xy >= BORDER_PX) & (xy <= [camera.width - BORDER_PX, camera.height - BORDER_PX])
        good = inside.all(axis=1) & (cosine >= self.cosine[rows])
        good &= (distance >= self.near[rows]) & (distance <= self.far[rows])
        return rows[good], xy[good]


def known_points(model: SceneModel, descriptor: NDArray[np.float16], similar: F64) -> KnownPoints:
    """What a model tells of its points. similar: of observations with their point, any number."""
    ids = np.concatenate([view.point_id for view in model.views])
    photo = np.repeat(np.arange(len(model.views)), [len(v.point_id) for v in model.views])
    ray = ViewGeometry(model.views).centre[photo] - model.xyz[ids]
    distance = np.linalg.norm(ray, axis=1)
    ray /= np.maximum(distance, 1e-12)[:, None]
    count = len(model.xyz)
    normal = sum_by(ids, ray, count)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    angle, near, far = np.zeros(count), np.full(count, np.inf), np.zeros(count)
    np.maximum.at(angle, ids, np.arccos(np.clip((ray * normal[ids]).sum(axis=1), -1, 1)))
    np.minimum.at(near, ids, distance)
    np.maximum.at(far, ids, distance)
    return KnownPoints(
        xyz=model.xyz,
        descriptor=descriptor,
        normal=normal,
        cosine=np.cos(np.minimum(angle + np.radians(BEYOND_DEG), np.pi / 2)),
        near=NEARER * near,
        far=FARTHER * far,
        similarity=float(np.quantile(similar, SIMILARITY_QUANTILE)),
    )


def found_at(
    points: KnownPoints,
    rows: I64,
    xy: F64,
    keypoints: F32,
    descriptor: NDArray[np.float16],
    radius_px: float,
) -> tuple[I64, I64]:
    """Points and keypoints that agree in place and look, one to one.

    rows (N,): points; xy (N,2): where they should be. keypoints (M,2) and descriptor (M,D):
    of the photo.
    """
    nothing = np.zeros(0, np.int64)
    if len(keypoints) < NEAREST_KEYPOINTS or not len(rows):
        return nothing, nothing
    tree = KDTree(keypoints.astype(np.float64))
    distance, near = tree.query(np.ascontiguousarray(xy), k=NEAREST_KEYPOINTS)
    row, column = np.nonzero(distance < radius_px)
    point, keypoint = rows[row], near[row, column].astype(np.int64)
    alike = np.einsum(
        "kd,kd->k",
        points.descriptor[point].astype(np.float32),
        descriptor[keypoint].astype(np.float32),
    )
    good = alike >= points.similarity
    point, keypoint, alike = point[good], keypoint[good], alike[good]
    order = np.argsort(-alike, kind="stable")
    point, keypoint = point[order], keypoint[order]
    best, also = np.zeros(len(point), bool), np.zeros(len(point), bool)
    best[np.unique(point, return_index=True)[1]] = True
    also[np.unique(keypoint, return_index=True)[1]] = True
    return point[best & also], keypoint[best & also]


def hidden(xy: F64, depth: F64, seen_xy: F64, seen_depth: F64) -> Bool:
    """(N,): whether something that the photo shows nearby lies clearly nearer.

    xy (N,2) and depth (N,) of points; seen_xy (S,2), seen_depth (S,): of what the photo was
    found to show. Where it shows nothing nearby, nothing is known to hide a point.
    """
    if len(seen_xy) < HIDING_NEAREST or not len(xy):
        return np.zeros(len(xy), bool)
    tree = KDTree(np.ascontiguousarray(seen_xy, np.float64))
    distance, near = tree.query(np.ascontiguousarray(xy), k=HIDING_NEAREST)
    close = distance < HIDING_PX
    around = np.where(close, seen_depth[np.minimum(near, len(seen_depth) - 1)], np.inf)
    return np.asarray(around.min(axis=1) < HIDING_SHARE * depth)
