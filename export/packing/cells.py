"""Map cells: points that are seen together become neighbours in memory."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

from edge_reloc.errors import MappingError

POINTS_PER_CELL = 20
OBSERVER_WEIGHT = 0.7  # of where points are seen from, against where they are
FEWEST_CELLS, MOST_CELLS = 16, 2048
KMEANS_SAMPLE = 50_000


@dataclass(frozen=True, kw_only=True)
class Cells:
    """K cells of P points, as `PointMap` holds them."""

    #: (P,): old ids in the new order
    order: NDArray[np.int64]
    #: (K+1,): cell k holds points start[k] to start[k+1] of the new order
    start: NDArray[np.int32]
    #: (K,3), world units
    centre: NDArray[np.float32]
    #: (K,), world units
    radius: NDArray[np.float32]


def make_cells(
    xyz: NDArray[np.float64],
    observer: NDArray[np.float64],
    observations: NDArray[np.int64],
    *,
    cells: int | None = None,
) -> Cells:
    """k-means cells of points (P,3); within a cell the best-observed come first.

    observer (P,3): mean position of the photos that see each point. Points of
    one place that are seen from different sides (or distances) are seldom
    visible together, so position and observer are clustered jointly.
    observations (P,): photos that see each point. cells: how many, by default
    one for 20 points, between 16 and 2048.
    """
    if len(xyz) < FEWEST_CELLS:
        raise MappingError(f"{len(xyz)} map points are too few for a map; photograph more overlap")
    wanted = cells or int(np.clip(len(xyz) // POINTS_PER_CELL, FEWEST_CELLS, MOST_CELLS))
    generator = np.random.default_rng(0)
    joint = np.hstack([_standardised(xyz), OBSERVER_WEIGHT * _centred(observer)])
    joint = np.ascontiguousarray(joint, dtype=np.float32)
    sample = joint[generator.permutation(len(xyz))[:KMEANS_SAMPLE]]
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4)
    _, _, centre = cv2.kmeans(sample, wanted, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    _, label = KDTree(np.ascontiguousarray(centre)).query(joint, k=1)
    label = label.astype(np.int64)
    used, label = np.unique(label, return_inverse=True)
    order = np.lexsort((-observations, label))
    start = np.concatenate([[0], np.cumsum(np.bincount(label, minlength=len(used)))])
    sizes = np.maximum(np.diff(start), 1)
    ordered = xyz[order]
    centre = np.add.reduceat(ordered, start[:-1], axis=0) / sizes[:, None]
    distance = np.linalg.norm(ordered - np.repeat(centre, sizes, axis=0), axis=1)
    radius = np.maximum.reduceat(distance, start[:-1])
    return Cells(
        order=order,
        start=start.astype(np.int32),
        centre=centre.astype(np.float32),
        radius=(radius * 1.0001 + 1e-6).astype(np.float32),
    )


def _standardised(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero mean, unit spread by axis; flat axes stay flat."""
    spread = xyz.std(axis=0)
    return np.asarray((xyz - xyz.mean(axis=0)) / np.maximum(spread, 0.05 * spread.max() + 1e-12))


def _centred(xyz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero mean, unit spread over all axes: a walk stays longer than it is wide."""
    centred = xyz - xyz.mean(axis=0)
    return np.asarray(centred / max(float(centred.std()), 1e-12))
