"""A map as it would be without some of its photos.

Whole neighbourhoods are left out, in place and in heading: a photo whose neighbours stay is
localised as if it had been mapped, and says nothing of frames from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F32, F64, I32, Bool
from edge_reloc.bundle import MapBundle, extend_bundle, layout, open_bundle
from edge_reloc.bundle.manifest import CovarianceScale, Integrity
from edge_reloc.geometry.rigid import camera_centre

from ..packing.drop_points import drop_points
from ..packing.observers import cell_observers
from ..packing.pack import mean_direction
from ..packing.uncertainty import point_sigma
from ..scene.model import SceneModel, View
from ..scene.tracks import Tracks
from ..scene.triangulate import retriangulated, widest_angle_deg
from ..scene.view_geometry import ViewGeometry

AS_SOLVED = CovarianceScale(factor=1.0)
LEAST_PHOTOS, LEAST_ANGLE_DEG = 2, 1.0  # that still see a point, and the rays' angle


def neighbourhoods(views: Sequence[View], xyz: F64, count: int, share: float) -> list[I32]:
    """`count` sets of rows of views, each the given share of them around one, far apart.

    Distances are measured in what the photos look at: as far apart as that is, or turned by a
    radian, is 1.
    """
    centre = np.array([camera_centre(view.cam_from_world) for view in views])
    axis = np.array([view.cam_from_world[2, :3] for view in views])
    depth = [
        float(np.median(np.linalg.norm(xyz[view.point_id] - at, axis=1)))
        for view, at in zip(views, centre, strict=True)
        if len(view.point_id)
    ]
    apart = np.linalg.norm(centre[:, None] - centre, axis=2) / np.median(depth)
    turned = np.arccos(np.clip(axis @ axis.T, -1.0, 1.0))
    distance = np.hypot(apart, turned)
    middle = [int(np.argmin(distance.sum(axis=1)))]
    while len(middle) < count:
        middle.append(int(np.argmax(distance[:, middle].min(axis=1))))
    size = max(1, round(share * len(views)))
    return [np.argsort(distance[m], kind="stable")[:size].astype(np.int32) for m in middle]


def write_without(model: SceneModel, bundle: Path, out: I32, target: Path) -> None:
    """Write a bundle to which the views `out` (rows) have added nothing but descriptors.

    model: with points in the bundle's order. Points lie where the other photos see them; those
    that fewer than two see, or all from one side, go. Its poses carry the solver's covariance.
    """
    rows = np.setdiff1d(np.arange(len(model.views)), out)
    stay = replace(model, views=[model.views[n] for n in rows])
    keep, xyz = _seen_again(stay)
    new_id = (np.cumsum(keep) - 1).astype(np.int32)
    lists = [new_id[ids[keep[ids]]] for ids in (np.unique(v.point_id) for v in stay.views)]
    source = open_bundle(bundle)
    unit = source.manifest.files[layout.XYZ].unit
    with extend_bundle(bundle, target) as writer:
        writer.manifest.integrity = Integrity(photos=0, first=AS_SOLVED, refined=AS_SOLVED)
        drop_points(writer, source, keep)
        writer.add_array(layout.XYZ, xyz.astype(np.float32), unit)
        writer.add_array(layout.DIRECTION, mean_direction(stay)[keep])
        seen = replace(stay.keep_points(keep), xyz=xyz)
        if source.has(layout.SIGMA):
            writer.add_array(layout.SIGMA, point_sigma(seen), unit)
        radius = _radius(source, keep, xyz)
        writer.add_array(layout.CELL_RADIUS, radius, unit)
        if source.has(layout.CELL_OBSERVERS):
            before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int32)
            start = before[source.array(layout.CELL_START)]
            observers = cell_observers(seen, start, source.array(layout.CELL_CENTRE), radius)
            writer.add_array(layout.CELL_OBSERVERS, observers, unit)
        starts = np.cumsum([0] + [len(ids) for ids in lists]).astype(np.int32)
        writer.add_array(layout.VIEW_START, starts)
        writer.add_array(layout.VIEW_POINT_ID, np.concatenate(lists))
        writer.add_array(layout.VIEW_EMBEDDING, source.array(layout.VIEW_EMBEDDING)[rows])


def _seen_again(model: SceneModel) -> tuple[Bool, F64]:
    """Points (P,) that the views of a model see well enough, and where (·,3) they see them."""
    ids = np.concatenate([view.point_id for view in model.views])
    seen = np.bincount(ids, minlength=len(model.xyz)) >= LEAST_PHOTOS
    photo = np.repeat(np.arange(len(model.views)), [len(v.point_id) for v in model.views])
    row = np.arange(len(ids))[seen[ids]]
    tracks = Tracks(view=photo[row].astype(np.int32), keypoint=row.astype(np.int32), track=ids[row])
    observed = np.concatenate([v.xy_px for v in model.views])[tracks.keypoint].astype(np.float64)
    geometry = ViewGeometry(model.views)
    xyz = retriangulated(tracks, geometry, model.xyz[seen], observed)
    ray = geometry.directions(tracks.view, geometry.rays(tracks.view, observed))
    angle = widest_angle_deg(tracks.track, ray, np.ones(len(ray), bool), tracks.count)
    good = (angle >= LEAST_ANGLE_DEG) & np.isfinite(xyz).all(axis=1)
    seen[seen] = good
    return seen, xyz[good]


def _radius(bundle: MapBundle, keep: Bool, xyz: F64) -> F32:
    """(K,): of balls around the cells' centres that hold the kept points xyz (·,3)."""
    start, centre = bundle.array(layout.CELL_START), bundle.array(layout.CELL_CENTRE)
    cell = np.repeat(np.arange(len(centre)), np.diff(start))[keep]
    radius = np.zeros(len(centre), np.float32)
    np.maximum.at(radius, cell, np.linalg.norm(xyz - centre[cell], axis=1).astype(np.float32))
    return np.asarray(radius * np.float32(1.001))  # float32 rounds
