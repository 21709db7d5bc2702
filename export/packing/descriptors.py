"""One descriptor for each map point, chosen among its observations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..scene.combine import PhotoStore
from ..scene.model import SceneModel

MAX_OBSERVATIONS = 64  # the choice hardly changes beyond; bounds memory on long tracks
POINTS_PER_BLOCK = 20_000


def medoid(descriptor: NDArray[np.floating]) -> int:
    """Row whose median distance to the others is smallest (PRAM, eq. 3).

    descriptor (K,D) of unit length. Of equals the first.
    """
    similarity = descriptor @ descriptor.T
    if len(similarity) < 3:
        return 0
    others = similarity[~np.eye(len(similarity), dtype=bool)].reshape(len(similarity), -1)
    # Distance falls as similarity rises: the smallest median distance is the
    # largest median similarity.
    return int(np.argmax(np.median(others, axis=1)))


def point_descriptors(model: SceneModel, store: PhotoStore) -> NDArray[np.float16]:
    """Descriptors (P,D) float16 of the map points, one observation each."""
    dim = store.get(model.views[0].name).descriptor.shape[1]
    out = np.zeros((len(model.xyz), dim), np.float16)
    # Blocks of points bound the memory: the observations of a large map
    # together are many times the map.
    for start in range(0, len(out), POINTS_PER_BLOCK):
        stop = min(start + POINTS_PER_BLOCK, len(out))
        out[start:stop] = _block(model, store, start, stop, dim)
    return out


def _block(
    model: SceneModel, store: PhotoStore, start: int, stop: int, dim: int
) -> NDArray[np.float16]:
    """Descriptors of the points start..stop-1."""
    out = np.zeros((stop - start, dim), np.float16)
    ids, rows = [], []
    for view in model.views:
        here = (view.point_id >= start) & (view.point_id < stop)
        if here.any():
            ids.append(view.point_id[here] - start)
            rows.append(store.get(view.name).descriptor[view.keypoint[here]])
    if not ids:
        return out
    point, descriptor = np.concatenate(ids), np.concatenate(rows)
    order = np.argsort(point, kind="stable")
    unique = np.unique(point[order], return_index=True, return_counts=True)
    for index, first, count in zip(*unique, strict=True):
        sample = np.arange(first, first + count)
        if count > MAX_OBSERVATIONS:
            sample = np.linspace(first, first + count - 1, MAX_OBSERVATIONS).astype(int)
        observed = descriptor[order[sample]]
        out[index] = observed[medoid(observed.astype(np.float32))]
    return out
