"""Points seen by the nearest mapping images: the field's usual way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.layout import VIEW_EMBEDDING, VIEW_POINT_ID, VIEW_START
from ..bundle.reader import MapBundle
from ..memory.arena import Arena
from ..structs import Candidates, Features
from .best_first import best_first


class ImageRetriever:
    """Nearest mapping images by embedding; their points, nearest first.

    embedding (V,E) float16 or float32; start (V+1,), point_id: CSR of the
    points that each image observed.
    """

    def __init__(self, bundle: MapBundle, arena: Arena, points: int, images: int) -> None:
        stored: NDArray[Any] = bundle.array(VIEW_EMBEDDING)
        self._embedding = stored
        if stored.dtype != np.float32:  # twice the file: memory that is planned
            self._embedding = arena.take("retriever.embedding", stored.shape, np.float32)
            self._embedding[:] = stored
        self._start = np.asarray(bundle.array(VIEW_START))
        self._point_id: NDArray[np.int32] = bundle.array(VIEW_POINT_ID)
        self._taken = np.zeros(points, bool)
        self._images = images

    @property
    def most(self) -> int:
        """Points that as many photos may see together at most."""
        return int(np.sort(np.diff(self._start))[-self._images :].sum())

    def retrieve(self, features: Features, out: Candidates) -> None:
        """Union of the points of the nearest images; capacity cuts the last."""
        out.clear()
        similarity = self._embedding @ features.embedding
        count, parts = 0, []
        for view in best_first(similarity, self._images):
            ids = self._point_id[self._start[view] : self._start[view + 1]]
            fresh = ids[~self._taken[ids]]
            room = out.capacity - count
            out.truncated += max(0, len(fresh) - room)
            self._taken[fresh[:room]] = True
            parts.append(fresh[:room])
            count += min(len(fresh), room)
        found = np.unique(np.concatenate(parts))  # fewer, where a photo lists a point twice
        self._taken[found] = False
        out.n = len(found)
        out.point_id[: out.n] = found
        out.score[: out.n] = 1.0
