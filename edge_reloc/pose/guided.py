"""The pose-guided second pass: look again where the first pose says to look.

Every map point that the first pose should see is projected, compared with the
keypoints around its place only, and the pose is settled on all agreements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from ..camera import Camera
from ..geometry import transform
from ..pointmap import PointMap
from ..types import Correspondences, Features

F64 = NDArray[np.float64]

NEIGHBOURS = 4
BLOCK = 4096


class GuidedMatcher:
    """Matches map points to keypoints near their projection.

    radius_px: how far from its projection a point may be found, for images
    640 pixels wide. min_similarity: lower than the first pass may ask, since
    the place of the match already speaks for it.
    """

    def __init__(self, points: PointMap, *, radius_px: float, min_similarity: float) -> None:
        self._points = points
        self._radius_px = radius_px
        self._min_similarity = min_similarity

    def match(
        self, camera: Camera, cam_from_world: F64, features: Features, out: Correspondences
    ) -> None:
        """Fill the correspondences with one keypoint a point and back; set n."""
        out.n = 0
        n = features.n
        ids = self._visible(camera, cam_from_world)
        if n == 0 or len(ids) == 0:
            return
        xy = camera.project(transform(cam_from_world, self._points.xyz[ids].astype(np.float64)))
        inside = (
            (xy[:, 0] >= 0)
            & (xy[:, 1] >= 0)
            & (xy[:, 0] < camera.width)
            & (xy[:, 1] < camera.height)
        )
        ids, xy = ids[inside], xy[inside].astype(np.float32)
        if len(ids) == 0:
            return
        radius = self._radius_px * max(camera.width, camera.height) / 640.0
        tree = KDTree(np.ascontiguousarray(features.xy_px[:n]))
        distance, keypoint = tree.query(
            xy, k=min(NEIGHBOURS, n), distance_upper_bound=radius, sqr_dists=False
        )
        distance = distance.reshape(len(ids), -1)
        keypoint = keypoint.reshape(len(ids), -1).astype(np.int64)
        near = keypoint[:, 0] < n
        ids, keypoint = ids[near], keypoint[near]
        similarity = np.full(keypoint.shape, -2.0, np.float32)
        for start in range(0, len(ids), BLOCK):
            rows = slice(start, start + BLOCK)
            descriptor = self._points.descriptor[ids[rows]].astype(np.float32)
            for k in range(keypoint.shape[1]):
                there = keypoint[rows, k] < n
                column = keypoint[rows, k][there]
                similarity[rows, k][there] = np.einsum(
                    "nd,nd->n", descriptor[there], features.descriptor[column]
                )
        choice = similarity.argmax(axis=1)
        row = np.arange(len(ids))
        best, keypoint = similarity[row, choice], keypoint[row, choice]
        good = best >= self._min_similarity
        ids, best, keypoint = ids[good], best[good], keypoint[good]
        # One point a keypoint: the most similar one.
        order = np.lexsort((-best, keypoint))
        ids, best, keypoint = ids[order], best[order], keypoint[order]
        first = np.ones(len(ids), bool)
        first[1:] = keypoint[1:] != keypoint[:-1]
        ids, best, keypoint = ids[first], best[first], keypoint[first]
        strongest = np.argsort(-best, kind="stable")[: out.capacity]
        m = out.n = len(strongest)
        out.keypoint[:m] = keypoint[strongest]
        out.point_id[:m] = ids[strongest]
        out.weight[:m] = best[strongest]
        out.xy_px[:m] = features.xy_px[out.keypoint[:m]]
        out.xyz_world[:m] = self._points.xyz[out.point_id[:m]]

    def _visible(self, camera: Camera, cam_from_world: F64) -> NDArray[np.int32]:
        """Points of the cells that reach into the viewing cone."""
        centre = transform(cam_from_world, self._points.cell_centre.astype(np.float64))
        radius = self._points.cell_radius
        corners = np.array(
            [
                [0, 0],
                [camera.width, 0],
                [0, camera.height],
                [camera.width, camera.height],
            ],
            np.float64,
        )
        rays = camera.rays_from_pixels(corners)
        half_angle = np.arctan(np.linalg.norm(rays, axis=1).max())
        distance = np.linalg.norm(centre, axis=1)
        angle = np.arctan2(np.linalg.norm(centre[:, :2], axis=1), centre[:, 2])
        slack = np.arcsin(np.clip(radius / np.maximum(distance, 1e-9), 0.0, 1.0))
        seen = (angle - slack < half_angle) | (distance <= radius)
        return self._points.points_of_cells(np.flatnonzero(seen))
