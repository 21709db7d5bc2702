"""A map of tiles from photos: placed apart, brought into one world, mapped apart again."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import edge_reloc
from edge_reloc.arrays import F64
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.reference.colmap import read_model

from ..cluster.executor import Executor
from ..cluster.units import Unit, finish
from ..packing.presets import PRESETS
from ..photos.features import FeatureStore, turned
from ..photos.listing import PhotoFacts
from ..reconstruct import oriented, rough_positions, turn, turning
from ..scene.align import transform_model
from ..scene.grade import Grade
from ..scene.headings import turns_from_matches, turns_from_poses
from ..scene.matching import chunk_counts, chunks_of, match_missing
from ..scene.model import SceneModel, load_model, save_model
from ..scene.pairs import pairs_with_poses, pairs_without_poses
from ..scene.posed import empty_view, posed_views
from ..scene.sfm_database import MIN_MATCHES
from ..scene.similarity import Similarity, umeyama
from ..scene.triangulate import TriangulationOptions
from ..scene.view_geometry import ViewGeometry
from ..summary import grade_line
from ..tiles.write import write_tiles
from .seams import adjust_tiles, find_seam, seam_error
from .split import Part, neighbours, split_by_matches, split_by_position
from .tile import (
    BUNDLE,
    MODEL_FILE,
    SUMMARY,
    NamedChunk,
    key_of,
    map_tile,
    place_posed_tile,
    place_tile,
    read_grade,
)

log = logging.getLogger(__name__)

VERSION = 2  # raise when the same photos give other tiles
TILES = "tiles"  # in the work folder
LISTING = "tiles.json"  # there: the work folder of each tile
CPUS = 1.0  # of a unit


def map_city(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> dict[str, Any]:
    """Write the map of tiles and return its summary.

    Raises MappingError when no two tiles hang together, or no photo can be placed.
    """
    if options.poses is None:
        store, parts, models = _placed(options, store, names, facts, workers)
    else:
        store, parts, models = _posed(options, store, names, facts, workers)
    tiles = {number: load_model(path) for number, path in models.items() if path.is_file()}
    grades = {number: read_grade(models[number]) for number in tiles}
    for number, grade in grades.items():
        if grade.verdict == "poor" and options.poses is None and not options.any_grade:
            log.warning("tile %d is left out: %s", number, "; ".join(grade.reasons))
            del tiles[number]
    if not tiles:
        raise MappingError(f"{options.output}: not written, since no tile could be placed well")
    notes: list[str] = []
    if options.poses is None:
        tiles = _in_one_world(tiles, parts, notes)
    tiles = _oriented(options, tiles, parts, names, facts)
    return _written(options, store, tiles, grades, notes, names, workers)


def _posed(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> tuple[FeatureStore, list[Part], dict[int, Path]]:
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
        units.append(
            Unit(run=place_posed_tile, arguments=arguments, result=models[number], cpus=CPUS)
        )
    finish(workers, units, "triangulating", "tile")
    return store, parts, models


def _placed(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> tuple[FeatureStore, list[Part], dict[int, Path]]:
    """Tiles by what photos share; each is a structure from motion of its own."""
    if turning(options):
        store = turn(options, store, turns_from_matches(store, names), facts)
    near = rough_positions(options, names, facts)
    pairs = sorted(pairs_without_poses(store, names, near))
    match_missing(store, names, pairs)
    chunks = chunks_of(store, names, pairs)
    count = np.concatenate([chunk_counts(chunk) for chunk in chunks])
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    tied = count >= MIN_MATCHES
    parts = split_by_matches(
        len(names), edges[tied], count[tied].astype(np.float64), options.tile_photos
    )
    log.info("%d photos in %d tiles", len(names), len(parts))
    units, models = [], {}
    for number, part in enumerate(parts):
        rows = set(part.rows.tolist())
        own = [names[row] for row in part.rows]
        of_tile = [
            NamedChunk(chunk.path, [(names[i], names[j]) for i, j in chunk.pairs])
            for chunk in chunks
            if any(i in rows and j in rows for i, j in chunk.pairs)
        ]
        identity = [[name, store.key(name)] for name in own], [str(c.path.name) for c in of_tile]
        camera = None if options.camera is None else Path(options.camera).read_text()
        ways = [options.features, options.geometry, options.keypoints, camera]
        key = key_of(VERSION, edge_reloc.__version__, identity, ways, _acceptance(options))
        models[number] = store.work / TILES / f"placed-{key}.npz"
        told = {name: facts[name] for name in own if name in facts}
        arguments = (options, store, own, told, of_tile, models[number])
        units.append(Unit(run=place_tile, arguments=arguments, result=models[number], cpus=CPUS))
    failures = finish(workers, units, "placing", "tile", tolerate=MappingError)
    for error in failures:
        log.warning("a tile is left out: %s", error)
    return store, parts, models


def _acceptance(options: argparse.Namespace) -> list[float]:
    return [options.min_length, options.max_error, float(options.metric)]


def _in_one_world(
    tiles: dict[int, SceneModel], parts: Sequence[Part], notes: list[str]
) -> dict[int, SceneModel]:
    """Tiles moved into the frame of one of them; without those that hang together with none."""
    found = (
        find_seam(a, tiles[a], b, tiles[b])
        for a, b in neighbours(parts)
        if a in tiles and b in tiles
    )
    seams = [seam for seam in found if seam is not None]
    world_from = adjust_tiles(seams, len(parts))
    world_from = {tile: similarity for tile, similarity in world_from.items() if tile in tiles}
    if len(world_from) < 1:
        raise MappingError("no two tiles hang together")
    for tile in sorted(set(tiles) - set(world_from)):
        log.warning(
            "tile %d is left out: its %d photos share too few points with those of others",
            tile,
            len(tiles[tile].views),
        )
    moved = {tile: transform_model(tiles[tile], world_from[tile]) for tile in sorted(world_from)}
    for seam in seams:
        if seam.first in moved and seam.second in moved:
            error = seam_error(moved[seam.first], moved[seam.second])
            if error is not None:
                notes.append(
                    f"seam of tiles {seam.first} and {seam.second}: {len(seam.xyz_first)} of "
                    f"{seam.shared} shared points agree; {error.photos} photos of both differ by "
                    f"{error.share:.2%} of the distance and {error.turn_deg:.2f} degrees"
                )
    return moved


def _oriented(
    options: argparse.Namespace,
    tiles: dict[int, SceneModel],
    parts: Sequence[Part],
    names: Sequence[str],
    facts: dict[str, PhotoFacts],
) -> dict[int, SceneModel]:
    """All tiles in metres, upright and in their place on Earth, as far as anything tells."""
    whole = _joined(tiles)
    told = oriented(options, whole, facts)
    rows = np.linspace(0, len(whole.xyz) - 1, min(1000, len(whole.xyz))).astype(int)
    moved = not np.array_equal(whole.xyz[rows], told.xyz[rows])
    similarity = umeyama(whole.xyz[rows], told.xyz[rows]) if moved else None
    return {number: _as_told(model, told, similarity) for number, model in tiles.items()}


def _as_told(model: SceneModel, told: SceneModel, similarity: Similarity | None) -> SceneModel:
    moved = model if similarity is None else transform_model(model, similarity)
    return replace(
        moved,
        metric=told.metric,
        gravity=told.gravity,
        georeference=told.georeference,
        alignment=told.alignment,
        notes=list(dict.fromkeys([*model.notes, *told.notes])),
    )


def _joined(tiles: dict[int, SceneModel]) -> SceneModel:
    """All photos and points as one model; a photo of several tiles as the first one has it."""
    views, points, seen = [], 0, set()
    for model in tiles.values():
        for view in model.views:
            if view.name not in seen:
                seen.add(view.name)
                views.append(replace(view, point_id=view.point_id + points))
        points += len(model.xyz)
    return SceneModel(
        views=views,
        xyz=np.concatenate([model.xyz for model in tiles.values()]),
        metric=all(model.metric for model in tiles.values()),
    )


def _written(
    options: argparse.Namespace,
    store: FeatureStore,
    tiles: dict[int, SceneModel],
    grades: dict[int, Grade],
    notes: list[str],
    names: Sequence[str],
    workers: Executor,
) -> dict[str, Any]:
    """The bundles of all tiles, the index over them, and the summary."""
    store.spec = turned(
        store.spec, {v.name: v.quarter_turns for model in tiles.values() for v in model.views}
    )
    store.save()
    units, bundles, cameras = [], {}, {}
    preset = PRESETS[options.preset]
    tiles = {number: preset.applied(model) for number, model in tiles.items()}
    for number, model in tiles.items():
        name = f"tile{number:03d}"
        folder = _tile_folder(store, model, options.preset)
        grade = grades[number]
        units.append(
            Unit(
                run=map_tile,
                arguments=(store, folder / MODEL_FILE, name, grade, preset.int8),
                result=folder / SUMMARY,
                cpus=CPUS,
            )
        )
        bundles[name] = folder / BUNDLE
        cameras[name] = _centres(model)
    finish(workers, units, "mapping", "tile")
    write_tiles(options.output, bundles, name=options.output.name, cameras=cameras)
    listing = {name: str(bundle.parent.relative_to(store.work)) for name, bundle in bundles.items()}
    write_atomic(store.work / LISTING, json.dumps(listing, indent=1) + "\n")
    used = {view.name for model in tiles.values() for view in model.views if len(view.point_id)}
    return {
        "photos": len(used),
        "skipped": [name for name in names if name not in used],
        "points": sum(len(model.xyz) for model in tiles.values()),
        "metric": all(model.metric for model in tiles.values()),
        "georeferenced": all(model.georeference is not None for model in tiles.values()),
        "tiles": {
            f"tile{number:03d}": {
                "photos": sum(1 for view in model.views if len(view.point_id)),
                "points": len(model.xyz),
                "grade": {**grades[number].to_dict(), "line": grade_line(grades[number])},
            }
            for number, model in tiles.items()
        },
        "notes": notes,
    }


def _tile_folder(store: FeatureStore, model: SceneModel, preset: str) -> Path:
    """Of a tile's own, named by the hash of its model and features; holds the model."""
    scratch = store.work / TILES / "model.npz"
    save_model(scratch, model)
    spec = json.dumps(store.spec.to_dict(), sort_keys=True)
    digest = key_of(VERSION, edge_reloc.__version__, spec, _hash(scratch), preset)
    folder = store.work / TILES / digest
    folder.mkdir(exist_ok=True)
    scratch.replace(folder / MODEL_FILE)
    return folder


def _hash(path: Path) -> str:
    import hashlib

    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _centres(model: SceneModel) -> F64:
    return np.array([camera_centre(view.cam_from_world) for view in model.views])
