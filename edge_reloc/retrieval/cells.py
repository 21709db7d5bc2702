"""Visible structure, asked discriminatively: how much of each cell is seen?

A small classifier maps the image embedding to the visible share of each map
cell. The share is the expected number of inliers per candidate, so taking
cells by share until the capacity is full spends the budget best, exactly.
"""

from __future__ import annotations

import numpy as np

from ..bundle.points import PointMap
from ..inference.engine import Engine
from ..structs import Candidates, Features
from .best_first import best_first


class CellsRetriever:
    """The `cells` head of visible structure retrieval.

    The network takes `embedding` (1,E) and returns `share` (1,K) in 0..1.
    """

    def __init__(self, points: PointMap, engine: Engine) -> None:
        self._points = points
        self._engine = engine
        self._size = np.diff(points.cell_start)
        self._mean = points.n / points.cells

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Best cells first until capacity; the last cell gives its best points."""
        out.clear()
        self._engine.inputs["embedding"][0] = features.embedding
        self._engine.run()
        share = self._engine.outputs["share"][0]
        asked = 2 * int(out.capacity / self._mean) + 1  # cells, more than fill the capacity mostly
        while True:
            order = best_first(share, asked)
            total = np.cumsum(self._size[order])
            if total[-1] >= out.capacity or asked >= len(share):
                break
            asked *= 4
        taken = int(np.searchsorted(total, out.capacity, side="left")) + 1
        count = 0
        for cell in np.sort(order[:taken]):
            size = int(self._size[cell])
            if taken <= len(order) and cell == order[taken - 1]:
                size = min(size, out.capacity - int(total[taken - 1] - size))
            first = int(self._points.cell_start[cell])
            out.point_id[count : count + size] = np.arange(first, first + size)
            out.score[count : count + size] = share[cell]
            count += size
        out.n = count
