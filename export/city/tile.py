"""Units of work of a map of tiles: place the photos of one, and make its bundle."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_reloc.errors import DiskError, MappingError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera

from ..integrity.measure import measure
from ..kept_files import read_object
from ..packing.pack import pack_map
from ..photos.features import FeatureStore
from ..photos.listing import PhotoFacts
from ..reconstruct import best_geometry, cleaned, grade_of, without_poses
from ..scene.grade import Grade
from ..scene.matching import PairMatches, read_chunk
from ..scene.model import SceneModel, View, load_model, save_model
from ..scene.posed import map_posed
from ..scene.sfm import lenses_of, place_photos
from ..scene.triangulate import TriangulationOptions
from ..work_folder import at_work

MODEL_FILE, BUNDLE, SUMMARY = "model.npz", "map", "summary.json"


@dataclass(frozen=True)
class NamedChunk:
    """A file of matches, and the photos of its pairs."""

    path: Path
    pairs: Sequence[tuple[str, str]]


def place_tile(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    chunks: Sequence[NamedChunk],
    camera: Camera | None,
    result: Path,
) -> None:
    """Structure from motion of a tile's photos, by the matches of those that lie in it.

    camera: known, and kept; None to refine one.
    """
    row_of = {name: row for row, name in enumerate(names)}
    # All tiles are turned alike, before they are divided.
    options = argparse.Namespace(**{**vars(options), "turns": "never"})

    def place(features: str) -> tuple[SceneModel, FeatureStore, float | None]:
        if features != options.features:
            return without_poses(options, store, names, facts, features)
        matches, tried = _matches_within(row_of, chunks)
        lenses = lenses_of(store, names, facts, camera)
        found = place_photos(store, names, lenses, matches, tried=tried, progress=False)
        return found.model, store, found.pairs

    model, _, grade = best_geometry(
        options, store.work, names, place, lambda model: cleaned(options, model)
    )
    _keep(result, model, grade)


def place_posed_tile(
    options: argparse.Namespace, store: FeatureStore, views: Sequence[View], result: Path
) -> None:
    """Points of photos whose poses are known."""
    options_of_points = TriangulationOptions(min_length=options.min_length)
    model = map_posed(views, store, options_of_points, progress=False)
    model = cleaned(options, model)
    model.metric = options.metric
    _keep(result, model, grade_of(model, [view.name for view in views], None))


def _matches_within(
    row_of: dict[str, int], chunks: Sequence[NamedChunk]
) -> tuple[list[PairMatches], int]:
    """Matches of the pairs whose photos are both of the tile, and how many pairs these are."""
    found = []
    for chunk in chunks:
        pairs = [(row_of.get(first, -1), row_of.get(second, -1)) for first, second in chunk.pairs]
        kept = read_chunk(chunk.path, pairs)
        if kept is None:
            raise DiskError(f"{chunk.path}: damaged or gone; remove it and map again")
        found += [match for match in kept if min(match.pair) >= 0]
    return sorted(found, key=lambda match: match.pair), len(found)


def _keep(result: Path, model: SceneModel, grade: Grade) -> None:
    result.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(grade_file(result), json.dumps(grade.to_dict()) + "\n")
    save_model(result, model)  # last: it says that the unit is done


def grade_file(model: Path) -> Path:
    """Beside a placed tile's model."""
    return model.with_suffix(".grade.json")


def read_grade(model: Path) -> Grade:
    """What a placed tile is worth."""
    path = grade_file(model)
    try:
        told = read_object(path)
        return Grade(**{key: told[key] for key in Grade.__dataclass_fields__})
    except (FileNotFoundError, KeyError) as error:
        raise MappingError(f"{path}: missing or damaged ({error}); map again") from None


def map_tile(store: FeatureStore, model: Path, name: str, grade: Grade, int8: bool) -> None:
    """The bundle of a tile that lies in the world, in its work folder, with its integrity."""
    folder = model.parent
    with at_work(folder):
        own = store.in_folder(folder)
        own.save()
        packed = pack_map(
            load_model(model), own, own.spec, folder / BUNDLE, name=name, grade=grade, int8=int8
        )
        found = measure(folder / BUNDLE, packed, own, progress=False)
        tries = 0 if found is None else found.photos
        write_atomic(folder / SUMMARY, json.dumps({"left_out_tries": tries}) + "\n")


def key_of(*identity: object) -> str:
    """A hash of what a unit's result depends on."""
    return hashlib.blake2b(json.dumps(identity).encode(), digest_size=12).hexdigest()
