"""The landmarks that a map has, after an update: the same ones, with the points that came."""

from __future__ import annotations

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.bundle import MapBundle, layout

from ..scene.model import SceneModel
from .landmarks import Landmarks, consistent, reference_views
from .pruning import PruningOptions, points_to_keep

JOINS_WITHIN = 1.5  # times the radius of a landmark, as of cells


def kept_landmarks(bundle: MapBundle, model: SceneModel, *, published: bool) -> Landmarks:
    """Landmarks of a bundle, numbered as they are; model: its points, in its order.

    A point of no landmark joins that of the nearest point that has one, where it lies among
    its own neighbours and not far outside: its recogniser then has nothing new to name.
    """
    start = np.asarray(bundle.array(layout.LANDMARK_START))
    ids = np.asarray(bundle.array(layout.LANDMARK_POINT_ID))
    count = len(start) - 1
    label = np.zeros(len(model.xyz), np.int32)
    label[ids] = np.repeat(np.arange(1, count + 1), np.diff(start))
    known, free = np.flatnonzero(label), np.flatnonzero((label == 0) & consistent(model))
    if len(known) and len(free):
        middle, radius = _balls(model, label, count)
        nearest = KDTree(model.xyz[known]).query(model.xyz[free], k=1)[1]
        own = label[known[nearest]]
        near = np.linalg.norm(model.xyz[free] - middle[own], axis=1) <= JOINS_WITHIN * radius[own]
        label[free[near]] = own[near]
    kept = label > 0
    if published:
        kept = points_to_keep(model, label, PruningOptions())
    return Landmarks(label=label, kept=kept, view=reference_views(model, label, count))


def _balls(model: SceneModel, label: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Middle (L+1,3) and radius (L+1,) of the points of each landmark."""
    size = np.maximum(np.bincount(label, minlength=count + 1), 1)[:, None]
    middle = np.zeros((count + 1, 3))
    np.add.at(middle, label, model.xyz)
    middle /= size
    radius = np.zeros(count + 1)
    np.maximum.at(radius, label, np.linalg.norm(model.xyz - middle[label], axis=1))
    return middle, radius
