"""Photos divided into tiles, and each tile placed by a unit of work."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edge_reloc
from edge_reloc.arrays import I64
from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.reference.colmap import read_model

from ..cluster.executor import Executor
from ..cluster.units import Unit, finish
from ..identity import digest_of
from ..photos.features import FeatureStore
from ..photos.listing import PhotoFacts
from ..reconstruct import rough_positions, turn, turning
from ..scene.grade import GOOD
from ..scene.headings import turns_from_matches, turns_from_poses
from ..scene.matching import chunk_counts, chunks_of, match_missing
from ..scene.model import load_model
from ..scene.pairs import pairs_with_poses, pairs_without_poses
from ..scene.posed import empty_view, posed_views
from ..scene.sfm import lenses_of
from ..scene.sfm_database import MIN_MATCHES
from ..scene.triangulate import TriangulationOptions
from ..scene.view_geometry import ViewGeometry
from .split import Part, split_by_matches, split_by_position
from .tile import NamedChunk, key_of, place_posed_tile, place_tile, read_grade

log = logging.getLogger(__name__)

VERSION = 2  # raise when the same photos give other tiles
TILES = "tiles"  # in the work folder


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Tiles, each in a frame of its own, or all in that of the poses that were known."""

    store: FeatureStore  #: of the features that they are made of
    parts: list[Part]
    models: dict[int, Path]  #: by the number of the part; without those that failed


def posed_tiles(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> Placed:
    """Tiles by position; each is triangulated by itself, at the poses that are known."""
    views, _ = posed_views(read_model(options.poses), names, store)
    if turning(options):
        store = turn(options, store, turns_from_poses(views), facts)
        views = [
            empty_view(v.name, v.camera, v.cam_from_world, store.turns.get(v.name, 0))
            for v in views
        ]
    centre = np.array([camera_centre(view.cam_from_world) for view in views])
    parts = split_by_position(centre, options.tile_photos)
    log.info("%d photos with poses in %d tiles", len(views), len(parts))
    points = TriangulationOptions(min_length=options.min_length)
    units, models = [], {}
    for number, part in enumerate(parts):
        own = [views[row] for row in part.rows]
        geometry = ViewGeometry(own)
        of_tile = [view.name for view in own]
        xy_px = [store.get(name).xy_px for name in of_tile]
        pairs = pairs_with_poses(store, geometry, xy_px, points, progress=False)
        match_missing(store, of_tile, pairs)  # by shards of pairs; the unit finds them done
        poses = [
            [v.name, store.key(v.name), v.camera.to_dict(), v.cam_from_world.tolist()] for v in own
        ]
        key = key_of(VERSION, edge_reloc.__version__, poses, _acceptance(options))
        models[number] = store.work / TILES / f"placed-{key}.npz"
        arguments = (options, store, own, models[number])
        units.append(Unit(run=place_posed_tile, arguments=arguments, result=models[number]))
    _finished(workers, units, "triangulating")
    return Placed(store=store, parts=parts, models=_there(models))


def placed_tiles(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> Placed:
    """Tiles by what photos share; each is a structure from motion of its own."""
    if turning(options):
        store = turn(options, store, turns_from_matches(store, names), facts)
    near = rough_positions(options, names, facts)
    pairs = sorted(pairs_without_poses(store, names, near))
    match_missing(store, names, pairs)
    chunks = chunks_of(store, names, pairs)
    count = np.concatenate([np.zeros(0, np.int64), *map(chunk_counts, chunks)])
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    tied = count >= MIN_MATCHES
    parts = split_by_matches(
        len(names), edges[tied], count[tied].astype(np.float64), options.tile_photos
    )
    log.info("%d photos in %d tiles", len(names), len(parts))
    models: dict[int, Path] = {}

    def unit(number: int, camera: Camera | None) -> Unit:
        rows = set(parts[number].rows.tolist())
        own = [names[row] for row in parts[number].rows]
        of_tile = [
            NamedChunk(chunk.path, [(names[i], names[j]) for i, j in chunk.pairs])
            for chunk in chunks
            if any(i in rows and j in rows for i, j in chunk.pairs)
        ]
        identity = [[name, store.key(name)] for name in own], [c.path.name for c in of_tile]
        known = None if camera is None else camera.to_dict()
        at = digest_of(None if near is None else [near[row] for row in parts[number].rows])
        ways = [options.features, options.geometry, options.keypoints, known, at]
        key = key_of(VERSION, edge_reloc.__version__, identity, ways, _acceptance(options))
        models[number] = store.work / TILES / f"placed-{key}.npz"
        told = {name: facts[name] for name in own if name in facts}
        arguments = (options, store, own, told, of_tile, camera, models[number])
        return Unit(run=place_tile, arguments=arguments, result=models[number])

    camera = None if options.camera is None else read_camera(options.camera)
    left = list(range(len(parts)))
    if len(parts) > 1 and len(lenses_of(store, names, facts, camera)) == 1 and camera is None:
        bonds = [_bond(part, edges, count) for part in parts]
        first = left.pop(int(np.argmax(bonds)))
        _finished(workers, [unit(first, None)], "placing the first tile")
        camera = _camera_of(models[first])
    _finished(workers, [unit(number, camera) for number in left], "placing")
    return Placed(store=store, parts=parts, models=_there(models))


def _bond(part: Part, edges: I64, count: I64) -> int:
    """Matches within a tile."""
    return int(count[np.isin(edges, part.rows).all(axis=1)].sum())


def _camera_of(model: Path) -> Camera | None:
    """What a tile that was placed well found of the camera that took all photos.

    The other tiles keep it: of two tiles with a focal length each, one is bent against the other.
    """
    if not model.is_file() or read_grade(model).verdict != GOOD:
        return None
    cameras = {view.camera for view in load_model(model).views}
    return cameras.pop() if len(cameras) == 1 else None


def _acceptance(options: argparse.Namespace) -> list[float]:
    return [options.min_length, options.max_error, float(options.metric)]


def _finished(workers: Executor, units: Sequence[Unit], name: str) -> None:
    """A tile that cannot be placed is told of; the others go on."""
    for error in finish(workers, units, name, "tile", tolerate=MappingError):
        log.warning("a tile is left out: %s", error)


def _there(models: dict[int, Path]) -> dict[int, Path]:
    return {number: path for number, path in models.items() if path.is_file()}
