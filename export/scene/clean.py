"""Dropping points that few photos agree on or that float in space."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from edge_reloc.arrays import F64, I64

from .model import SceneModel
from .view_geometry import ViewGeometry

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CleanOptions:
    """What a point needs to stay (PRAM, section 3.1, made free of scale).

    Distances are divided by the point's distance to its cameras first: PRAM
    compares metres with a fixed 0.2, but a map need not be metric, and far
    points lie farther apart than near ones without being wrong.
    """

    min_length: int = 3  #: photos that see it
    max_error_px: float = 2.0  #: mean reprojection error at 1024 px
    neighbours: int = 20  #: how many nearest points its spread is measured over
    max_spread: float = 6.0  #: its mean distance to them, as a multiple of the map's median


@dataclass(frozen=True, kw_only=True)
class PointStatistics:
    """Of P points."""

    length: I64  #: (P,): photos that see the point
    error_px: F64  #: (P,): mean reprojection error
    distance: F64  #: (P,): mean distance to the cameras, world units


def point_statistics(model: SceneModel) -> PointStatistics:
    """Track length, mean reprojection error and camera distance by point."""
    count = len(model.xyz)
    geometry = ViewGeometry(model.views)
    length = np.zeros(count, np.int64)
    error, distance = np.zeros(count), np.zeros(count)
    for index, view in enumerate(model.views):
        ids, rows = view.point_id, np.full(len(view.point_id), index, np.int32)
        residual = geometry.residual(rows, model.xyz[ids], view.xy_px.astype(np.float64))
        length[ids] += 1
        error[ids] += np.linalg.norm(residual, axis=1) / geometry.tolerance[index]
        distance[ids] += np.linalg.norm(model.xyz[ids] - geometry.centre[index], axis=1)
    divisor = np.maximum(length, 1)
    return PointStatistics(length=length, error_px=error / divisor, distance=distance / divisor)


def neighbour_spread(xyz: F64, distance: F64, neighbours: int) -> F64:
    """Mean distance (P,) to the nearest points over the camera distance."""
    from pykdtree.kdtree import KDTree

    near, _ = KDTree(xyz).query(xyz, k=neighbours + 1)  # the first is the point itself
    return np.asarray(near[:, 1:].mean(axis=1) / np.maximum(distance, 1e-12))


def clean(model: SceneModel, options: CleanOptions) -> SceneModel:
    """The model without the points that fail; photos stay, even if empty."""
    statistics = point_statistics(model)
    seen = statistics.length >= options.min_length
    sharp = statistics.error_px <= options.max_error_px
    keep = seen & sharp
    floating = np.zeros(len(keep), bool)
    rows = np.flatnonzero(keep)
    if len(rows) > options.neighbours:
        spread = neighbour_spread(model.xyz[rows], statistics.distance[rows], options.neighbours)
        floating[rows] = spread > options.max_spread * np.median(spread)
    log.info(
        "cleaning: %d points; %d seen by fewer than %d photos, %d over %g px, %d far from others",
        len(keep),
        int((~seen).sum()),
        options.min_length,
        int((seen & ~sharp).sum()),
        options.max_error_px,
        int(floating.sum()),
    )
    return model.keep_points(keep & ~floating)
