"""The updated bundle: what stays keeps its bytes and its place, what is new finds one.

Points that stay keep position, descriptor, direction and uncertainty to the bit, cells their
centres, photos their embeddings, and the embedding itself is not learnt again. New points join
the cell whose points are near them and are seen from where they are; where there is none, they
make new cells behind the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import edge_reloc
from edge_reloc.arrays import F32, F64, I64, Bool
from edge_reloc.bundle import MapBundle, extend_bundle, layout
from edge_reloc.bundle.points import open_points
from edge_reloc.embedding.place import open_embedding
from edge_reloc.methods import METHODS

from ..packing.cells import FEWEST_CELLS, POINTS_PER_CELL, make_cells
from ..packing.class_tokens import open_tokens
from ..packing.descriptors import point_descriptors
from ..packing.observers import cell_observers
from ..packing.pack import mean_direction, mean_observer, reorder_points
from ..packing.quantising import in_steps, unit
from ..packing.uncertainty import point_sigma
from ..photos.features import FeatureStore
from ..scene.model import SceneModel, View
from .growth import Grown
from .joint_space import JointSpace

JOINS_WITHIN = 1.5  # times the radius of a cell, position and observer together


@dataclass(frozen=True, kw_only=True)
class Repacked:
    """The updated map's model, points in the bundle's order, and what became of the cells."""

    model: SceneModel
    order: I64  #: (P,): which point of the base, or behind those which new one, each was
    changed: Bool  #: (K,): cells that lost or got points; new ones are among them


def repack(
    bundle: MapBundle, grown: Grown, retired: Bool, store: FeatureStore, output: Path
) -> Repacked:
    """Write the updated bundle. retired (P,): of the base's points."""
    model, old = grown.model, grown.old_points
    keep = np.concatenate([~retired, np.ones(len(model.xyz) - old, bool)])
    start = bundle.array(layout.CELL_START)
    cell_of_old = np.repeat(np.arange(len(start) - 1), np.diff(start))
    space = JointSpace(_before(grown), cell_of_old)
    observer = mean_observer(model)[old:]
    cell_of_new, fresh = _cells_of_new(space, model, old, observer)
    cell = np.concatenate([cell_of_old, cell_of_new])
    cells = len(start) - 1 + fresh
    changed = np.zeros(cells, bool)
    changed[cell_of_old[retired]] = True
    changed[cell_of_new] = True
    order = _order(model, cell, old, keep)
    packed = reorder_points(model.keep_points(keep), (np.cumsum(keep) - 1)[order].astype(np.int64))
    _write(bundle, grown, packed, order, cell[order], changed, store, output)
    return Repacked(model=packed, order=order, changed=changed)


def _before(grown: Grown) -> SceneModel:
    """The base's own model: its photos and its points."""
    views = grown.model.views[: grown.old_photos]
    views = [
        replace(
            view,
            xy_px=view.xy_px[rows],
            point_id=view.point_id[rows],
            keypoint=view.keypoint[rows],
        )
        for view in views
        for rows in [view.point_id < grown.old_points]
    ]
    return replace(grown.model, views=views, xyz=grown.model.xyz[: grown.old_points])


def _cells_of_new(space: JointSpace, model: SceneModel, old: int, observer: F64) -> tuple[I64, int]:
    """Cell (N,) of each new point, and how many new cells there are."""
    xyz = model.xyz[old:]
    nearest, distance = space.nearest(xyz, observer)
    away = np.flatnonzero(distance > JOINS_WITHIN * space.radius[nearest])
    if len(away) < FEWEST_CELLS:
        return nearest, 0
    count = np.bincount(
        np.concatenate([view.point_id for view in model.views]), minlength=len(model.xyz)
    )[old:]
    wanted = max(1, len(away) // POINTS_PER_CELL)
    grid = make_cells(xyz[away], observer[away], count[away], cells=wanted)
    sizes = np.diff(grid.start)
    nearest[away[grid.order]] = len(space.radius) + np.repeat(np.arange(len(sizes)), sizes)
    return nearest, len(sizes)


def _order(model: SceneModel, cell: I64, old: int, keep: Bool) -> I64:
    """Points that stay, cell by cell; new ones between old ones that as many photos see.

    Old ones keep their order, whatever new photos saw of them.
    """
    count = np.bincount(
        np.concatenate([view.point_id for view in model.views]), minlength=len(model.xyz)
    ).astype(np.int64)
    first = np.flatnonzero(np.diff(cell[:old], prepend=-1))
    for begin, end in zip(first, np.append(first[1:], old), strict=True):
        count[begin:end] = np.minimum.accumulate(count[begin:end])
    order = np.lexsort((np.arange(len(cell)), -count, cell))
    return np.asarray(order[keep[order]], np.int64)


def _write(
    bundle: MapBundle,
    grown: Grown,
    packed: SceneModel,
    order: I64,
    cell: I64,
    changed: Bool,
    store: FeatureStore,
    output: Path,
) -> None:
    """order (P,): of base and new points, as they are in the new bundle; cell (P,): of each."""
    old = grown.old_points
    new = order >= old
    only_new = packed.keep_points(new)
    points = open_points(bundle)
    descriptor = unit(point_descriptors(only_new, store).astype(np.float32))
    stored = in_steps(descriptor, points.scale) if points.scale != 1.0 else descriptor
    rows: dict[str, np.ndarray] = {layout.XYZ: only_new.xyz, layout.DESCRIPTORS: stored}
    if bundle.has(layout.DIRECTION):
        rows[layout.DIRECTION] = mean_direction(only_new)
    if bundle.has(layout.SIGMA):
        rows[layout.SIGMA] = point_sigma(only_new) if len(only_new.xyz) else np.zeros((0, 2))
    vectors = _embedded(bundle, store, packed.views[grown.old_photos :])
    seen = [np.unique(view.point_id) for view in packed.views]
    files = bundle.manifest.files
    with extend_bundle(bundle.directory, output) as writer:
        for name, values in rows.items():
            array = bundle.array(name)
            out = np.empty((len(order), *array.shape[1:]), array.dtype)
            out[~new] = array[order[~new]]
            out[new] = values.astype(array.dtype)
            writer.add_array(name, out, files[name].unit)
        sizes = np.bincount(cell, minlength=len(changed))
        starts = np.cumsum([0, *sizes]).astype(np.int32)
        writer.add_array(layout.CELL_START, starts)
        centre, radius = _balls(bundle, packed.xyz, cell, changed)
        writer.add_array(layout.CELL_CENTRE, centre, files[layout.CELL_CENTRE].unit)
        writer.add_array(layout.CELL_RADIUS, radius, files[layout.CELL_RADIUS].unit)
        if bundle.has(layout.CELL_OBSERVERS):
            observers = cell_observers(packed, starts, centre, radius)
            writer.add_array(layout.CELL_OBSERVERS, observers, files[layout.CELL_OBSERVERS].unit)
        known = bundle.array(layout.VIEW_EMBEDDING)
        added = vectors.astype(known.dtype).reshape(-1, known.shape[1])
        writer.add_array(layout.VIEW_EMBEDDING, np.concatenate([known, added]))
        writer.add_array(layout.VIEW_START, np.cumsum([0] + [len(s) for s in seen], dtype=np.int32))
        writer.add_array(layout.VIEW_POINT_ID, np.concatenate(seen).astype(np.int32))
        if bundle.has(layout.LANDMARK_START):
            number = np.full(old, -1, np.int32)
            number[order[~new]] = np.flatnonzero(~new)
            ids = number[bundle.array(layout.LANDMARK_POINT_ID)]
            before = np.concatenate([[0], np.cumsum(ids >= 0)])
            start = before[bundle.array(layout.LANDMARK_START)]
            writer.add_array(layout.LANDMARK_START, start.astype(np.int32))
            writer.add_array(layout.LANDMARK_POINT_ID, ids[ids >= 0])
        _tell(writer.manifest, packed, len(order) / old)


def _embedded(bundle: MapBundle, store: FeatureStore, views: Sequence[View]) -> F32:
    """(V,E), of unit length: by the map's own embedding."""
    tokens = open_tokens(bundle, store)
    if tokens is not None:
        return unit(tokens.of_views(store, views))
    embedding = open_embedding(bundle)
    vectors = []
    for view in views:
        photo = store.get(view.name)
        descriptor = photo.descriptor.astype(np.float32)
        vectors.append(embedding.embedding(descriptor, photo.pooled_place()))
    return np.array(vectors, np.float32)


def _balls(bundle: MapBundle, xyz: F64, cell: I64, changed: Bool) -> tuple[np.ndarray, np.ndarray]:
    """Centres (K,3) and radii (K,): the base's, but larger where points need it; and new ones."""
    known = bundle.array(layout.CELL_CENTRE)
    centre = np.zeros((len(changed), 3), np.float32)
    centre[: len(known)] = known
    for index in range(len(known), len(changed)):
        centre[index] = xyz[cell == index].mean(axis=0)
    radius = np.zeros(len(changed), np.float32)
    radius[: len(known)] = bundle.array(layout.CELL_RADIUS)
    distance = np.linalg.norm(xyz.astype(np.float32) - centre[cell], axis=1)
    reach = np.zeros(len(changed))
    np.maximum.at(reach, cell, distance * 1.0001 + 1e-6)
    larger = changed & (reach > radius)
    radius[larger] = reach[larger]
    return centre, radius


def _tell(manifest: edge_reloc.bundle.Manifest, packed: SceneModel, share: float) -> None:
    """What the manifest says of points and photos."""
    cameras = dict(manifest.cameras)
    for view in packed.views:
        if view.camera.to_dict() not in cameras.values():
            cameras[f"camera{len(cameras)}"] = view.camera.to_dict()
    manifest.cameras = cameras
    for method in METHODS.values():
        method.scale_candidates(manifest, share)
    manifest.statistics |= {
        "points": len(packed.xyz),
        "photos": len(packed.views),
        "observations": sum(len(view.point_id) for view in packed.views),
    }
    manifest.parity = {}  # it spoke of another map
    manifest.generator = f"edge_reloc {edge_reloc.__version__}"
