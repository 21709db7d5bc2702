"""What new photos show: points of the map again, and points that it does not have yet.

Poses of new photos are refined on points of the map, which stay where they are, and on the new
points, which move with them; poses of old photos stay fixed, so the world does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F32, F64, I64
from edge_reloc.pose.refine import refine_pose

from ..photos.features import FeatureStore
from ..progress import open_bar
from ..scene.complete import complete_tracks
from ..scene.matching import Pair, match_pairs
from ..scene.model import SceneModel, View
from ..scene.pairs import all_pairs, pairs_by_overlap
from ..scene.tracks import Tracks, build_tracks
from ..scene.triangulate import TriangulationOptions, check_epipolar, retriangulated, triangulate
from ..scene.view_geometry import ViewGeometry
from .expectation import ROUGH_PX, SEARCH_PX, KnownPoints, found_at

log = logging.getLogger(__name__)

FEWEST_FOUND = 20  # points of the map that a photo must show, or its pose is not believed
OVERLAP_POINTS = 20_000  # of the map, that tell which photos overlap
NEXT_IN_SEQUENCE = 3
REFINEMENTS = 2
OUT_OF_REACH_PX = -1e6  # where keypoints are put that belong to points already
SAME_POINT_PX = 2.0


@dataclass(frozen=True, kw_only=True)
class Grown:
    """A model with new photos and points behind those that it had."""

    model: SceneModel
    old_photos: int
    old_points: int


def see_again(
    views: Sequence[View], points: KnownPoints, store: FeatureStore, *, sure: bool = False
) -> tuple[list[View], dict[str, str]]:
    """New photos with refined poses and the map's points that they show; why others have none.

    sure: their poses are known, also of those that show nothing of the map.
    """
    kept, left_out = [], {}
    with open_bar(len(views), "looking again", "photo") as bar:
        for view in views:
            bar.update()
            photo = store.get(view.name)
            for radius in (ROUGH_PX, SEARCH_PX, SEARCH_PX):
                geometry = ViewGeometry([view])
                rows, xy = points.expected(geometry, 0)
                point, keypoint = found_at(
                    points,
                    rows,
                    xy,
                    photo.xy_px,
                    photo.descriptor,
                    radius * float(geometry.tolerance[0]),
                )
                view = _with_points(view, point, keypoint, photo.xy_px)
                if len(point) < FEWEST_FOUND:
                    break
                view = _refined(view, points.xyz)
            if len(view.point_id) < FEWEST_FOUND and not sure:
                left_out[view.name] = (
                    f"its pose shows {len(view.point_id)} points of the map where {len(rows)} are "
                    f"expected, {FEWEST_FOUND} are needed"
                )
                continue
            kept.append(view)
    return kept, left_out


def grow(
    model: SceneModel,
    new: Sequence[View],
    points: KnownPoints,
    store: FeatureStore,
    options: TriangulationOptions,
    scouts: KnownPoints | None = None,
) -> Grown:
    """The model with new photos, and points that they and the old ones give.

    new: as seen again. scouts: rough points where the map has none, that tell which photos
    overlap there.
    """
    old = len(model.views)
    views = [*model.views, *new]
    geometry = ViewGeometry(views)
    names = [view.name for view in views]
    all_xy = [store.get(name).xy_px for name in names]
    pairs = _pairs(geometry, [points] if scouts is None else [points, scouts], old)
    matches = match_pairs(store, names, pairs)
    matches = check_epipolar(matches, geometry, all_xy, options)
    free = [_without_taken(xy, view) for xy, view in zip(all_xy, views, strict=True)]
    for index, match in enumerate(matches):
        i, j = match.pair
        good = (free[i][match.rows[:, 0], 0] >= 0) & (free[j][match.rows[:, 1], 0] >= 0)
        matches[index] = replace(match, rows=match.rows[good], similarity=match.similarity[good])
    tracks = build_tracks(matches, [len(xy) for xy in all_xy])
    found = triangulate(tracks, geometry, free, options)
    if len(found.xyz):
        found = complete_tracks(found, geometry, store, free, options)
    log.info("%d pairs, %d new points", len(pairs), len(found.xyz))
    count = len(model.xyz)
    grown = []
    for index, view in enumerate(views):
        rows = found.tracks.view == index
        keypoint = found.tracks.keypoint[rows]
        grown.append(
            replace(
                view,
                xy_px=np.concatenate([view.xy_px, all_xy[index][keypoint]]),
                point_id=np.concatenate([view.point_id, found.tracks.track[rows] + count]),
                keypoint=np.concatenate([view.keypoint, keypoint]),
            )
        )
    result = replace(model, views=grown, xyz=np.concatenate([model.xyz, found.xyz]))
    for _ in range(REFINEMENTS):
        result = _settled(result, old, count)
    result = _without_doubles(result, points, store, count)
    return Grown(model=result, old_photos=old, old_points=count)


def _pairs(geometry: ViewGeometry, points: Sequence[KnownPoints], old: int) -> list[Pair]:
    """Pairs with a new photo, of photos that see the same part of the map."""
    count = len(geometry.views)
    if count - old <= NEXT_IN_SEQUENCE:
        chosen = set(all_pairs(count))
    else:
        xyz = np.concatenate([known.xyz for known in points])
        normal = np.concatenate([known.normal for known in points])
        sample = np.random.default_rng(0).permutation(len(xyz))[:OVERLAP_POINTS]
        chosen = set(pairs_by_overlap(geometry, xyz[sample], normal[sample]))
    for first in range(old, count):
        chosen |= {(first, j) for j in range(first + 1, min(count, first + NEXT_IN_SEQUENCE + 1))}
    return sorted((i, j) for i, j in chosen if j >= old)


def _with_points(view: View, point: I64, keypoint: I64, xy_px: F32) -> View:
    return replace(
        view,
        xy_px=xy_px[keypoint],
        point_id=point.astype(np.int32),
        keypoint=keypoint.astype(np.int32),
    )


def _refined(view: View, xyz: F64) -> View:
    """With the pose that fits its points best; as it was where that is not determined."""
    if len(view.point_id) < 6:
        return view
    found = refine_pose(
        view.camera, view.cam_from_world, view.xy_px.astype(np.float64), xyz[view.point_id]
    )
    return view if found is None else replace(view, cam_from_world=found.cam_from_world)


def _without_taken(xy_px: F32, view: View) -> F32:
    """Keypoints (N,2), with those out of reach that show points of the map."""
    out = xy_px.copy()
    out[view.keypoint] = OUT_OF_REACH_PX
    return out


def _settled(model: SceneModel, old_photos: int, old_points: int) -> SceneModel:
    """New poses on all points, then new points on all poses."""
    views = [
        view if index < old_photos else _refined(view, model.xyz)
        for index, view in enumerate(model.views)
    ]
    ids = np.concatenate([view.point_id for view in views])
    photo = np.repeat(np.arange(len(views)), [len(v.point_id) for v in views])
    row = np.flatnonzero(ids >= old_points)
    if not len(row):
        return replace(model, views=views)
    tracks = Tracks(
        view=photo[row].astype(np.int32),
        keypoint=row.astype(np.int32),
        track=ids[row] - np.int32(old_points),
    )
    observed = np.concatenate([v.xy_px for v in views])[tracks.keypoint].astype(np.float64)
    moved = retriangulated(tracks, ViewGeometry(views), model.xyz[old_points:], observed)
    xyz = np.concatenate([model.xyz[:old_points], moved])
    return replace(model, views=views, xyz=xyz)


def _without_doubles(
    model: SceneModel, points: KnownPoints, store: FeatureStore, old_points: int
) -> SceneModel:
    """Without new points that are the map's own once more: same place, same look."""
    new = model.xyz[old_points:]
    if not len(new):
        return model
    reach, descriptor = np.full(len(new), np.inf), np.zeros((len(new), points.descriptor.shape[1]))
    for view in model.views:
        rows = view.point_id >= old_points
        ids = view.point_id[rows] - old_points
        depth = (new[ids] @ view.cam_from_world[2, :3]) + view.cam_from_world[2, 3]
        np.minimum.at(reach, ids, SAME_POINT_PX * depth / view.camera.fx)
        descriptor[ids] = store.get(view.name).descriptor[view.keypoint[rows]]
    distance, nearest = KDTree(np.ascontiguousarray(model.xyz[:old_points])).query(
        np.ascontiguousarray(new), k=1
    )
    alike = (descriptor * points.descriptor[nearest].astype(np.float64)).sum(axis=1)
    double = (distance < reach) & (alike >= points.similarity)
    keep = np.concatenate([np.ones(old_points, bool), ~double & np.isfinite(new).all(axis=1)])
    return model.keep_points(keep)
