"""Visible structure retrieval as published (ViSiR, section 3.3).

Zangeneh et al., BMVC 2025: a conditional-VAE decoder turns the embedding and
a fixed set of noise samples into points on the visible structure; the map
points within a radius of any of them are returned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from ..arrays import F32
from ..bundle.points import PointMap
from ..bundle.schema import LARGEST
from ..inference.engine import Engine
from ..structs import Candidates, Features

NEAREST_K = 64


class GenerativeRetriever:
    """The `generative` head of visible structure retrieval.

    The network takes `embedding` (1,E) and returns `points` (S,3) in world
    units. radius and voxel are in world units. search: "radius" returns the
    paper's set exactly; "nearest" at most 64 points a sample, from a tree of
    the map.
    """

    def __init__(
        self, points: PointMap, engine: Engine, *, radius: float, voxel: float, search: str
    ) -> None:
        self._points = points
        self._engine = engine
        self._radius = radius
        self._voxel = voxel
        self._reach = 1.001 * (points.cell_radius[:, None] + np.float32(radius))
        self._tree = KDTree(np.ascontiguousarray(points.xyz)) if search == "nearest" else None

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Points near the generated structure; over capacity the nearest stay."""
        out.clear()
        self._engine.inputs["embedding"][0] = features.embedding
        self._engine.run()
        samples = voxel_downsample(self._engine.outputs["points"], self._voxel)
        if len(samples) == 0:
            return
        found = self._near(samples) if self._tree is not None else self._within(samples)
        ids, distance = found
        if len(ids) > out.capacity:
            out.truncated = len(ids) - out.capacity
            nearest = np.argpartition(distance, out.capacity)[: out.capacity]
            ids, distance = ids[nearest], distance[nearest]
        order = np.argsort(ids)
        n = out.n = len(ids)
        out.point_id[:n] = ids[order]
        out.score[:n] = 1.0 - distance[order] / self._radius

    def _within(self, samples: F32) -> tuple[NDArray[np.int32], F32]:
        """Exactly the points within the radius: cells first, then points."""
        tree = KDTree(samples, leafsize=8)
        cells = self._around(samples)
        reach = self._points.cell_radius[cells] + self._radius
        to_cell, _ = tree.query(
            self._points.cell_centre[cells],
            k=1,
            distance_upper_bound=float(reach.max(initial=0.0)) * 1.001,
        )
        ids = self._points.points_of_cells(cells[to_cell <= reach])
        if len(ids) == 0:
            return ids, np.zeros(0, np.float32)
        distance, _ = tree.query(
            np.ascontiguousarray(self._points.xyz[ids]),
            k=1,
            distance_upper_bound=self._radius * 1.001,
        )
        inside = distance <= self._radius
        return ids[inside], distance[inside]

    def _around(self, samples: F32) -> NDArray[np.intp]:
        """Cells that reach into the box around the samples: of a large map few."""
        centre, reach = self._points.cell_centre, self._reach
        low, high = samples.min(axis=0), samples.max(axis=0)
        return np.flatnonzero(((centre >= low - reach) & (centre <= high + reach)).all(axis=1))

    def _near(self, samples: F32) -> tuple[NDArray[np.int32], F32]:
        """The 64 nearest points of each sample within the radius."""
        assert self._tree is not None
        distance, ids = self._tree.query(
            samples, k=min(NEAREST_K, self._points.n), distance_upper_bound=self._radius
        )
        distance, ids = distance.ravel(), ids.ravel()
        inside = np.isfinite(distance) & (ids < self._points.n)
        distance, ids = distance[inside], ids[inside].astype(np.int32)
        order = np.lexsort((distance, ids))
        ids, distance = ids[order], distance[order]
        first = np.ones(len(ids), bool)
        first[1:] = ids[1:] != ids[:-1]
        return ids[first], distance[first]


def voxel_downsample(samples: F32, voxel: float) -> F32:
    """One sample a voxel (the first), so that dense spots cost no queries."""
    finite = samples[(np.abs(samples) <= LARGEST).all(axis=1)]
    key = np.floor(finite / voxel).astype(np.int64)
    key -= key.min(axis=0, initial=0)
    flat = (key[:, 0] * 2097152 + key[:, 1]) * 2097152 + key[:, 2]
    _, first = np.unique(flat, return_index=True)
    return np.ascontiguousarray(finite[np.sort(first)])
