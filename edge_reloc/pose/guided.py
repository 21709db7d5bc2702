"""The pose-guided second pass: look again where the first pose says to look.

Every map point that the first pose should see is projected, compared with the
keypoints around its place only, and the pose is settled on all agreements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from ..camera import Camera
from ..geometry import transform
from ..pointmap import PointMap
from ..types import Correspondences, Features

F64 = NDArray[np.float64]

NEIGHBOURS = 8
BLOCK = 4096
PARTS = 8  # the image is judged in 8x8 parts
ENOUGH = 15  # points and keypoints that a part needs before silence there counts


class GuidedMatcher:
    """Matches map points to keypoints near their projection.

    min_similarity: lower than the first pass may ask, since the place of the
    match already speaks for it.
    """

    def __init__(self, points: PointMap, *, min_similarity: float) -> None:
        self._points = points
        self._min_similarity = min_similarity
        self._expected = np.zeros((PARTS, PARTS))

    def match(
        self,
        camera: Camera,
        cam_from_world: F64,
        features: Features,
        radius_px: float,
        out: Correspondences,
    ) -> None:
        """Fill the correspondences with one keypoint a point and back; set n.

        radius_px: how far from its projection a point may be found.
        """
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
        self._expected = _count_by_part(camera, xy)
        if len(ids) == 0:
            return
        tree = KDTree(np.ascontiguousarray(features.xy_px[:n]))
        distance, keypoint = tree.query(
            xy, k=min(NEIGHBOURS, n), distance_upper_bound=radius_px, sqr_dists=False
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

    def coverage(self, camera: Camera, features: Features, inlier_px: F64) -> float:
        """Share of the image that agrees with the last pose looked from, 0..1.

        Of the parts of the image where that pose expects map points and the
        image has keypoints, how many have inliers (M,2)? A pose that fits one
        object and nothing around it scores low, however many inliers it has.
        """
        keypoints = _count_by_part(camera, features.xy_px[: features.n])
        judged = (self._expected >= ENOUGH) & (keypoints >= ENOUGH)
        if not judged.any():
            return 1.0
        return float((_count_by_part(camera, inlier_px)[judged] >= 2).mean())

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


def _count_by_part(camera: Camera, xy_px: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(8,8) how many pixels (N,2) fall into each part of the image."""
    part = (xy_px * [PARTS / camera.width, PARTS / camera.height]).astype(np.intp)
    np.clip(part, 0, PARTS - 1, out=part)
    counts = np.bincount(part[:, 0] * PARTS + part[:, 1], minlength=PARTS * PARTS)
    return counts.reshape(PARTS, PARTS).astype(np.float64)
