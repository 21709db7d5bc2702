"""Where points are and where they are seen from, in one space, as cells were made in it."""

from __future__ import annotations

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F64, I64

from ..packing.cells import OBSERVER_WEIGHT
from ..packing.pack import mean_observer
from ..scene.model import SceneModel


class JointSpace:
    """The K cells of a packed model: `radius` (K,) holds nine tenths of the points of each."""

    def __init__(self, model: SceneModel, cell: I64) -> None:
        observer = mean_observer(model)
        spread = model.xyz.std(axis=0)
        self._low, self._seen_low = model.xyz.mean(axis=0), observer.mean(axis=0)
        self._size = np.maximum(spread, 0.05 * spread.max() + 1e-12)
        self._seen_size = max(float((observer - self._seen_low).std()), 1e-12)
        joint = self._joint(model.xyz, observer)
        cells = int(cell.max()) + 1
        count = np.maximum(np.bincount(cell, minlength=cells), 1)
        self._used = np.flatnonzero(np.bincount(cell, minlength=cells))
        self._centre = (
            np.stack([np.bincount(cell, column, minlength=cells) for column in joint.T], axis=1)
            / count[:, None]
        )
        away = np.linalg.norm(joint - self._centre[cell], axis=1)
        order = np.lexsort((away, cell))
        end = np.cumsum(np.bincount(cell, minlength=cells))
        place = np.maximum(end - 1 - count // 10, 0)
        self.radius = np.where(np.bincount(cell, minlength=cells) > 0, away[order][place], 0.0)

    def nearest(self, xyz: F64, observer: F64) -> tuple[I64, F64]:
        """Cell (N,) and distance (N,) to its centre. observer (N,3): mean place of the cameras."""
        if not len(xyz):
            return np.zeros(0, np.int64), np.zeros(0)
        tree = KDTree(np.ascontiguousarray(self._centre[self._used]))
        distance, row = tree.query(np.ascontiguousarray(self._joint(xyz, observer)), k=1)
        return self._used[row.astype(np.int64)].astype(np.int64), distance

    def _joint(self, xyz: F64, observer: F64) -> F64:
        """(N,6)."""
        place = (xyz - self._low) / self._size
        seen = OBSERVER_WEIGHT * (observer - self._seen_low) / self._seen_size
        return np.asarray(np.hstack([place, seen]))
