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

from ..cluster.executor import Executor
from ..cluster.units import Unit, finish
from ..packing.presets import PRESETS
from ..photos.features import FeatureStore, turned
from ..photos.listing import PhotoFacts
from ..reconstruct import oriented
from ..scene.align import transform_model
from ..scene.grade import Grade
from ..scene.model import SceneModel, load_model, save_model
from ..scene.similarity import Similarity, umeyama
from ..summary import grade_line
from ..tiles.write import write_tiles
from .placing import TILES, VERSION, placed_tiles, posed_tiles
from .seams import adjust_tiles, find_seam, seam_error
from .split import Part, neighbours
from .tile import BUNDLE, MODEL_FILE, SUMMARY, key_of, map_tile, read_grade

log = logging.getLogger(__name__)

LISTING = "tiles.json"  # there: the work folder of each tile


def map_city(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor,
) -> dict[str, Any]:
    """Write the map of tiles and return its summary.

    Raises MappingError when no tile can be placed well.
    """
    place = placed_tiles if options.poses is None else posed_tiles
    placed = place(options, store, names, facts, workers)
    tiles = {number: load_model(path) for number, path in placed.models.items()}
    grades = {number: read_grade(path) for number, path in placed.models.items()}
    for number, grade in grades.items():
        if grade.verdict == "poor" and options.poses is None and not options.any_grade:
            log.warning("tile %d is left out: %s", number, "; ".join(grade.reasons))
            del tiles[number]
    if not tiles:
        raise MappingError(f"{options.output}: not written, since no tile could be placed well")
    notes: list[str] = []
    if options.poses is None:
        tiles = _in_one_world(tiles, placed.parts, notes)
    tiles = _oriented(options, tiles, facts)
    return _written(options, placed.store, tiles, grades, notes, names, workers)


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
    world_from = adjust_tiles(seams, tiles)
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
        grade = grades[number]
        folder = _tile_folder(store, model, options.preset, name, grade.to_dict())
        units.append(
            Unit(
                run=map_tile,
                arguments=(store, folder / MODEL_FILE, name, grade, preset.int8),
                result=folder / SUMMARY,
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


def _tile_folder(store: FeatureStore, model: SceneModel, *told: object) -> Path:
    """Of a tile's own, named by the hash of its model, features and what is told; has the model."""
    scratch = store.work / TILES / "model.npz"
    save_model(scratch, model)
    spec = json.dumps(store.spec.to_dict(), sort_keys=True)
    digest = key_of(VERSION, edge_reloc.__version__, spec, _hash(scratch), told)
    folder = store.work / TILES / digest
    folder.mkdir(exist_ok=True)
    scratch.replace(folder / MODEL_FILE)
    return folder


def _hash(path: Path) -> str:
    import hashlib

    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _centres(model: SceneModel) -> F64:
    return np.array([camera_centre(view.cam_from_world) for view in model.views])
