"""A world of up to a million points in many alike places, made of one real map.

    python tests/benchmarks/large_world.py --points 1000000 --output worlds/1000000

The places stand in a square, each the original with descriptors and embeddings turned by an
amount that is chosen (`places_alike.py`), so that they compete for matches as far as asked.
Every method of the map that holds no map in its networks answers in it (`heads_of_places.py`);
scene coordinates are left out. Cells and landmarks are as many as mapping makes of so many
points: one for 20 and twelve a photo, at most `MOST_CELLS` and `MOST`, so that in a large world
each is larger.
Queries of the original are queries of place 0, with the truth that they had; `scaling.py`
asks for them in other places, too.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from heads_of_places import cells_head, generative_head, landmark_head
from places_alike import Turns, turns

import edge_reloc
from edge_reloc.arrays import F32, I32, I64
from edge_reloc.bundle import BundleWriter, MapBundle, extend_bundle, layout, open_bundle
from edge_reloc.bundle.points import PointMap, open_points
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import camera_centre, transform
from edge_reloc.reference.truth import read_truth
from edge_reloc_export.packing.cells import MOST_CELLS
from edge_reloc_export.packing.landmarks import MOST
from edge_reloc_export.packing.networks import add_network

DEMO = Path(edge_reloc.__file__).parent / "demo" / "map"
PROTOTYPES = 8  # by which a place is told
APART = 1.1  # places, in extents of one: as houses in a street
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Places:
    """C places of one world."""

    descriptor: Turns
    embedding: Turns
    #: (C,3): where each stands
    shift: F32

    @property
    def count(self) -> int:
        """C."""
        return len(self.shift)


def places_of(bundle: MapBundle, count: int, aliasing: float) -> Places:
    """The same places for the same arguments. bundle: the original or the world."""
    extent = np.asarray(bundle.manifest.statistics.get("place_extent") or _extent(bundle))
    side = int(np.ceil(np.sqrt(count)))
    number = np.arange(count)
    step = APART * float(extent[:2].max())
    shift = np.stack([number % side * step, number // side * step, 0.0 * number], axis=1)
    dim = bundle.manifest.features.dim
    assert bundle.manifest.embedding is not None
    return Places(
        descriptor=turns(count, dim, aliasing, SEED),
        embedding=turns(count, bundle.manifest.embedding.dim, aliasing, SEED),
        shift=shift.astype(np.float32),
    )


def _extent(bundle: MapBundle) -> list[float]:
    low, high = np.percentile(bundle.array(layout.XYZ), [1, 99], axis=0)
    return [float(length) for length in high - low]


def write_world(
    source: Path, output: Path, *, points: int, aliasing: float, most_cells: int = MOST_CELLS
) -> int:
    """Write the bundle; how many places it has."""
    bundle = open_bundle(source)
    original = open_points(bundle)
    count = max(1, round(points / original.n))
    places = places_of(bundle, count, aliasing)
    cell = merged(original.cell_centre, min(original.cells, max(most_cells // count, 1)))
    order, _ = _order(original, cell)
    with extend_bundle(source, output) as writer:
        _write_points(writer, bundle, original, places, cell)
        _write_views(writer, bundle, places, order)
        _write_heads(writer, bundle, original, places, cell)
        if bundle.has(layout.LANDMARK_START):
            _write_landmarks(writer, bundle, original, places, order, MOST // count)
        _leave_out_scene_coordinates(writer)
        writer.manifest.parity = {}
        writer.manifest.name = f"{bundle.manifest.name} in {count} places"
        facts = {"places": count, "aliasing": aliasing, "place_extent": _extent(bundle)}
        writer.manifest.statistics |= {"points": count * original.n, **facts}
    return count


def merged(centre: F32, wanted: int) -> I64:
    """(N,): which of `wanted` groups each of N things belongs to, by where they are."""
    if wanted >= len(centre):
        return np.arange(len(centre))
    cv2.setRNGSeed(0)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-4)
    rows = np.ascontiguousarray(centre, np.float32)
    _, label, _ = cv2.kmeans(rows, wanted, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    return np.unique(label.ravel(), return_inverse=True)[1]


def _order(points: PointMap, cell: I64) -> tuple[I64, I32]:
    """Old ids in the new order, by merged cell, the best-observed of each first; its starts."""
    size = np.diff(points.cell_start)
    rank = np.arange(points.n) - np.repeat(points.cell_start[:-1], size)
    label = np.repeat(cell, size)
    order = np.lexsort((rank, label))
    return order, np.concatenate([[0], np.cumsum(np.bincount(label))]).astype(np.int32)


def _write_points(
    writer: BundleWriter,
    bundle: MapBundle,
    points: PointMap,
    places: Places,
    cell: I64,
) -> None:
    order, start = _order(points, cell)
    unit = bundle.manifest.files[layout.XYZ].unit
    own = points.decode(points.descriptor, np.empty((points.n, points.dim), np.float32))[order]
    turned = np.empty((places.count * points.n, points.dim), np.float16)
    for place in range(places.count):
        turned[place * points.n : (place + 1) * points.n] = places.descriptor.turned(place, own)
    xyz = points.xyz[order]
    middle = np.array([xyz[a:b].mean(axis=0) for a, b in pairwise(start)])
    away = np.linalg.norm(xyz - np.repeat(middle, np.diff(start), axis=0), axis=1)
    radius = np.maximum.reduceat(away, start[:-1]) * 1.001
    shift = places.shift[:, None]
    writer.manifest.features = replace(bundle.manifest.features, descriptor_scale=1.0)
    writer.add_array(layout.XYZ, (xyz + shift).reshape(-1, 3), unit)
    writer.add_array(layout.DESCRIPTORS, turned)
    starts = (start[:-1] + points.n * np.arange(places.count)[:, None]).ravel()
    end = [places.count * points.n]
    writer.add_array(layout.CELL_START, np.concatenate([starts, end]).astype(np.int32))
    writer.add_array(layout.CELL_CENTRE, (middle + shift).reshape(-1, 3).astype(np.float32), unit)
    writer.add_array(layout.CELL_RADIUS, np.tile(radius, places.count).astype(np.float32), unit)
    observers = merged_observers(observers_of(bundle, points), cell)
    told = np.tile(observers, (places.count, 1))
    told[:, :3] += np.repeat(places.shift, len(observers), axis=0)
    writer.add_array(layout.CELL_OBSERVERS, told, unit)
    for name in filter(bundle.has, (layout.DIRECTION, layout.SIGMA)):
        rows = bundle.array(name)[order]
        writer.add_array(name, np.tile(rows, (places.count, 1)), bundle.manifest.files[name].unit)


def observers_of(bundle: MapBundle, points: PointMap) -> F32:
    """(K,5) of the original's cells; of the demo, which does not tell, by its frames' truth."""
    if points.observers is not None:
        return points.observers
    scene = bundle.directory.parent
    camera = read_camera(scene / "camera.json")
    assert points.direction is not None
    label = np.repeat(np.arange(points.cells), np.diff(points.cell_start))
    low, high = np.full((points.cells, 3), np.inf), np.full((points.cells, 3), -np.inf)
    away, count = np.zeros(points.cells), np.zeros(points.cells)
    for pose in read_truth(scene / "truth").values():
        place = camera_centre(pose)
        xyz, ray = transform(pose, points.xyz.astype(np.float64)), place - points.xyz
        pixel = camera.project(xyz)
        seen = (xyz[:, 2] > 0) & (pixel >= 0).all(axis=1)
        seen &= (pixel < [camera.width, camera.height]).all(axis=1)
        seen &= (ray * points.direction).sum(axis=1) > 0
        cells = np.unique(label[seen])
        low[cells], high[cells] = np.minimum(low[cells], place), np.maximum(high[cells], place)
        count[cells] += 1
        away[cells] += np.linalg.norm(place - points.cell_centre[cells], axis=1)
    unseen = ~np.isfinite(low[:, 0])
    low[unseen] = high[unseen] = points.cell_centre[unseen]
    radius = np.linalg.norm(high - low, axis=1) / 2
    away = away / np.maximum(count, 1) + points.cell_radius
    return np.column_stack([(low + high) / 2, radius, away]).astype(np.float32)


def merged_observers(observers: F32, cell: I64) -> F32:
    """Of merged cells: balls around the balls."""
    out = np.empty((cell.max() + 1, 5), np.float32)
    for new in range(len(out)):
        own = observers[cell == new]
        middle, radius = own[:, :3], own[:, 3:4]
        centre = ((middle - radius).min(axis=0) + (middle + radius).max(axis=0)) / 2
        out[new, :3] = centre
        out[new, 3] = (np.linalg.norm(middle - centre, axis=1) + radius[:, 0]).max()
        out[new, 4] = own[:, 4].mean()
    return out


def _renumbered(ids: I32, order: I64) -> I32:
    """Ids (N,) of the original's points as they are numbered in the new order."""
    new = np.empty(len(order), np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    return np.asarray(new[ids])


def _repeated(start: I32, ids: I32, points: int, count: int) -> tuple[I32, I32]:
    """Lists of ids for every place, one place after the other."""
    place = np.arange(count)[:, None]
    starts = np.append((start[:-1] + len(ids) * place).ravel(), len(ids) * count)
    return starts.astype(np.int32), (ids + points * place).astype(np.int32).ravel()


def _write_views(writer: BundleWriter, bundle: MapBundle, places: Places, order: I64) -> None:
    start, ids = bundle.array(layout.VIEW_START), bundle.array(layout.VIEW_POINT_ID)
    new, points = _renumbered(ids, order), len(order)
    for first, end in pairwise(start):
        new[first:end].sort()
    starts, repeated = _repeated(start, new, points, places.count)
    embedding = np.asarray(bundle.array(layout.VIEW_EMBEDDING), np.float32)
    all_of_them = [places.embedding.turned(place, embedding) for place in range(places.count)]
    writer.add_array(layout.VIEW_START, starts)
    writer.add_array(layout.VIEW_POINT_ID, repeated)
    writer.add_array(layout.VIEW_EMBEDDING, np.concatenate(all_of_them).astype(np.float16))
    writer.manifest.statistics |= {"photos": len(starts) - 1, "observations": len(repeated)}


def _prototypes(rows: F32, turned: Turns, count: int) -> F32:
    """(C,M,N): a few typical ones of rows (V,N), in every place."""
    group = merged(rows, min(PROTOTYPES, len(rows)))
    typical = np.stack([rows[group == g].mean(axis=0) for g in range(group.max() + 1)])
    typical /= np.linalg.norm(typical, axis=1, keepdims=True)
    return np.stack([turned.turned(place, typical) for place in range(count)])


def _write_heads(
    writer: BundleWriter, bundle: MapBundle, points: PointMap, places: Places, cell: I64
) -> None:
    heads = bundle.manifest.methods.get("visible_structure", {}).get("heads", {})
    embedding = np.asarray(bundle.array(layout.VIEW_EMBEDDING), np.float32)
    known = _prototypes(embedding, places.embedding, places.count)
    size = np.diff(points.cell_start)
    share = np.zeros((points.cells, cell.max() + 1), np.float32)
    share[np.arange(points.cells), cell] = size / np.bincount(cell, size)[cell]
    for name, head in heads.items():
        path, turned = bundle.path(head["network"]), places.embedding
        if name == "cells":
            content = cells_head(path, turned, known, share)
        else:
            content = generative_head(path, turned, known, places.shift)
        add_network(writer, head["network"], content)


def _write_landmarks(
    writer: BundleWriter,
    bundle: MapBundle,
    points: PointMap,
    places: Places,
    order: I64,
    most: int,
) -> None:
    start = bundle.array(layout.LANDMARK_START)
    ids = bundle.array(layout.LANDMARK_POINT_ID)
    count = len(start) - 1
    label = np.repeat(np.arange(count), np.diff(start))
    centre = np.stack([points.xyz[ids[label == n]].mean(axis=0) for n in range(count)])
    group = merged(centre, min(count, max(most, 1)))
    member = np.zeros((count, group.max() + 1), np.float32)
    member[np.arange(count), group] = 1.0
    new = _renumbered(ids, order)
    by = np.lexsort((new, group[label]))
    size = np.bincount(group[label])
    starts, repeated = _repeated(
        np.concatenate([[0], np.cumsum(size)]).astype(np.int32), new[by], points.n, places.count
    )
    first = np.unique(group, return_index=True)[1]  # of each, one photo stands for all
    poses = bundle.array(layout.LANDMARK_CAM_FROM_WORLD)[first]
    moved = np.tile(poses, (places.count, 1, 1))
    moved[:, :3, 3] -= np.einsum(
        "nij,nj->ni", moved[:, :3, :3], np.repeat(places.shift, len(first), axis=0)
    )
    unit = bundle.manifest.files[layout.LANDMARK_CAM_FROM_WORLD].unit
    writer.add_array(layout.LANDMARK_START, starts)
    writer.add_array(layout.LANDMARK_POINT_ID, repeated)
    writer.add_array(layout.LANDMARK_CAM_FROM_WORLD, moved, unit)
    camera = bundle.array(layout.LANDMARK_CAMERA)[first]
    writer.add_array(layout.LANDMARK_CAMERA, np.tile(camera, places.count))
    views, seen = bundle.array(layout.VIEW_START), bundle.array(layout.VIEW_POINT_ID)
    descriptor = points.decode(points.descriptor, np.empty((points.n, points.dim), np.float32))
    mean = np.stack([descriptor[seen[a:b]].mean(axis=0) for a, b in pairwise(views)])
    known = _prototypes(mean, places.descriptor, places.count)
    network = bundle.manifest.methods["landmarks"]["network"]
    add_network(
        writer, network, landmark_head(bundle.path(network), places.descriptor, known, member)
    )


def _leave_out_scene_coordinates(writer: BundleWriter) -> None:
    own = writer.manifest.methods.pop("scene_coordinates", None)
    for network in [] if own is None else own["features"]["networks"]:
        writer.remove(network["file"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, default=DEMO, help="trained (default: the demo's)")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument(
        "--aliasing",
        type=float,
        default=0.7,
        help="cosine of what is the same in the original and in another place (default 0.7)",
    )
    parser.add_argument(
        "--cells", type=int, default=MOST_CELLS, help=f"at most (default {MOST_CELLS}, as mapping)"
    )
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    count = write_world(
        options.map,
        options.output,
        points=options.points,
        aliasing=options.aliasing,
        most_cells=options.cells,
    )
    facts = open_bundle(options.output).manifest.statistics
    print(f"{options.output}: {facts['points']} points, {facts['photos']} photos, {count} places")
    return 0


if __name__ == "__main__":
    sys.exit(main())
