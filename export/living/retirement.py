"""Which points of a map are gone, by the photos that should have shown them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_reloc.arrays import F64

from ..photos.features import FeatureStore
from ..scene.model import SceneModel, View
from ..scene.view_geometry import ViewGeometry
from .evidence import Looks, Verdict, judge
from .expectation import SEARCH_PX, KnownPoints, found_at, hidden
from .growth import Grown

BESIDE_PX = 25.0  # where a look finds only what looks alike by accident


def find_gone(grown: Grown, points: KnownPoints, store: FeatureStore) -> Verdict:
    """Of the old points (P,)."""
    views, old = grown.model.views, grown.old_photos
    xyz = grown.model.xyz
    mapped = _looks(views[:old], xyz, points)
    looked = _looks(views[old:], xyz, points)
    return judge(mapped, looked, _accidents(views[old:], points, store), points.xyz)


def _looks(views: Sequence[View], xyz: F64, points: KnownPoints) -> Looks:
    """Of each old point: photos that should show it, and those that do.

    xyz: of old and new points, which both tell what hides others.
    """
    count = len(points.xyz)
    tried, found = np.zeros(count, np.int64), np.zeros(count, np.int64)
    geometry = ViewGeometry(views)
    for index, view in enumerate(views):
        rows, xy = points.expected(geometry, index)
        seen = np.zeros(count, bool)
        seen[view.point_id[view.point_id < count]] = True
        behind = hidden(
            xy,
            _depth(view, points.xyz[rows]),
            view.xy_px.astype(np.float64),
            _depth(view, xyz[view.point_id]),
        )
        counts = rows[~behind | seen[rows]]
        tried[counts] += 1
        found[counts] += seen[counts]
    return Looks(tried=tried, found=found)


def _accidents(views: Sequence[View], points: KnownPoints, store: FeatureStore) -> float:
    """Share of looks beside where a point should be that find something like it."""
    geometry = ViewGeometry(views)
    tried = found = 0
    for index, view in enumerate(views):
        rows, xy = points.expected(geometry, index)
        photo = store.get(view.name)
        radius = SEARCH_PX * float(geometry.tolerance[index])
        for shift in ((BESIDE_PX, 0.0), (-BESIDE_PX, 0.0)):
            hits, _ = found_at(points, rows, xy + shift, photo.xy_px, photo.descriptor, radius)
            tried, found = tried + len(rows), found + len(hits)
    return found / max(tried, 1)


def _depth(view: View, xyz: F64) -> F64:
    pose = view.cam_from_world
    return np.asarray(xyz @ pose[2, :3] + pose[2, 3])


def observed_similarity(model: SceneModel, descriptor: np.ndarray, store: FeatureStore) -> F64:
    """Of mapping's observations with the descriptor of their point, photo by photo."""
    found = []
    for view in model.views:
        own = store.get(view.name).descriptor[view.keypoint].astype(np.float32)
        found.append((own * descriptor[view.point_id].astype(np.float32)).sum(axis=1))
    return np.concatenate(found)
