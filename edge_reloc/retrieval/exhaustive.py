"""All points of the map: the baseline that every table shows."""

from __future__ import annotations

import numpy as np

from ..structs import Candidates, Features


class ExhaustiveRetriever:
    """Returns every point, up to capacity."""

    def __init__(self, points: int) -> None:
        self._points = points

    def retrieve(self, features: Features, out: Candidates) -> None:
        """All point ids."""
        out.clear()
        out.n = min(self._points, out.capacity)
        out.truncated = self._points - out.n
        out.point_id[: out.n] = np.arange(out.n, dtype=np.int32)
        out.score[: out.n] = 1.0
