"""From photos to a scene by whichever way the options of `edge-reloc map` name."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_reloc.errors import DiskError, MappingError

from .summary import grade_line

if TYPE_CHECKING:
    from edge_reloc.arrays import F64

    from .photos.features import FeatureStore
    from .photos.listing import PhotoFacts
    from .scene.grade import Grade
    from .scene.model import SceneModel, View

log = logging.getLogger(__name__)

# What pycolmap, which has no class for it, says where the disk is full.
DATABASE_FAILED = ("SQLite error:", "No registered database factory succeeded")


def open_photos(
    options: argparse.Namespace, work: Path, names: list[str], facts: dict[str, PhotoFacts]
) -> FeatureStore:
    """The photos' features by the map's own network; MappingError where no photo can be read."""
    from .photos.feature_network import feature_settings
    from .photos.features import FeatureStore
    from .photos.listing import refusal_of

    # SIFT needs no turns; networks do, and begin with those that EXIF asks for.
    turning = options.features != "sift"
    turns = {fact.name: fact.quarter_turns for fact in facts.values()} if turning else {}
    sizes = [fact.size_turned(turns.get(fact.name, 0)) for fact in facts.values()]
    if not sizes:
        raise MappingError(
            f"{options.images}: none of {len(names)} photos can be read; first: "
            f"{refusal_of(options.images / names[0])}"
        )
    spec = feature_settings(options.features, options.weights, options.keypoints, sizes, work)
    return FeatureStore(work, spec, images=options.images, turns=turns)


def reconstruct(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore, Grade]:
    """Points and poses by whichever way the options name, and what they are worth."""
    if options.poses is not None:
        model, store = with_poses(options, store, names, facts)
        model = finish(options, model, facts)
        return model, store, grade_of(model, names, None)

    return best_geometry(
        options,
        store.work,
        names,
        lambda features: without_poses(options, store, names, facts, features),
        lambda model: finish(options, model, facts),
    )


def best_geometry(
    options: argparse.Namespace,
    work: Path,
    names: Sequence[str],
    place: Callable[[str], tuple[SceneModel, FeatureStore, float | None]],
    complete: Callable[[SceneModel], SceneModel],
) -> tuple[SceneModel, FeatureStore, Grade]:
    """The best of what kinds of features give, one after the other until one is good.

    place: the model of a kind, the store of its features, and the share of pairs that agree.
    complete: what is done to a model before it is graded.
    """
    from .photos.positions import PositionsError

    best: tuple[SceneModel, FeatureStore, Grade] | None = None
    failure: MappingError | None = None
    for features in geometries(options):
        try:
            model, own, pairs = place(features)
        except PositionsError:
            raise
        except RuntimeError as error:
            if not any(words in str(error) for words in DATABASE_FAILED):
                raise
            raise DiskError(
                f"{work}: the database of the reconstruction cannot be written "
                f"({str(error).rpartition('] ')[2]}); make room, and the same command goes on"
            ) from error
        except MappingError as error:
            log.warning("geometry by %s: %s", features, error)
            failure = failure or error
            continue
        model = complete(model)
        found = model, own, grade_of(model, names, pairs)
        log.info("geometry by %s: %s", features, grade_line(found[2]))
        if best is None or found[2].better_than(best[2]):
            best = found
        if best[2].verdict == "good":
            break
    if best is None:
        assert failure is not None
        raise failure
    return best


def geometries(options: argparse.Namespace) -> list[str]:
    """Kinds of features to reconstruct with, one after the other until the grade is good."""
    own = options.features
    ways = {"same": [own], "sift": ["sift"], "auto": [own, "sift"]}[options.geometry]
    return list(dict.fromkeys(ways))


def without_poses(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
    features: str,
) -> tuple[SceneModel, FeatureStore, float | None]:
    """Structure from motion by some features; the map's own are triangulated at its poses.

    With the model the store of its features, and the share of pairs that agree.
    """
    from edge_reloc.geometry.camera import read_camera

    from .photos.feature_network import feature_settings
    from .scene.headings import turns_from_matches
    from .scene.sfm import map_photos

    camera = None if options.camera is None else read_camera(options.camera)
    near = rough_positions(options, names, facts)
    if features == options.features:
        if turning(options):
            store = turn(options, store, turns_from_matches(store, names), facts)
        found = map_photos(store, names, facts, camera, near=near)
        model = found.model
    else:
        spec = feature_settings(features, None, options.keypoints, [], store.work)
        geometry = store.with_spec(spec)
        geometry.turns.clear()
        usable = geometry.prepare(names)
        found = map_photos(geometry, usable, facts, camera, near=near)
        model, store = at_poses(options, store, found.model.views, facts)
        model.notes = [*found.model.notes, f"geometry by {features}"]
    return model, store, found.pairs


def with_poses(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore]:
    """Points at the poses of a COLMAP model."""
    from edge_reloc.reference.colmap import read_model

    from .scene.posed import posed_views

    views, without = posed_views(read_model(options.poses), names, store)
    model, store = at_poses(options, store, views, facts)
    model.metric = options.metric
    if without:
        model.notes.append(f"no pose in {options.poses}: {', '.join(without)}")
    return model, store


def at_poses(
    options: argparse.Namespace,
    store: FeatureStore,
    views: Sequence[View],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore]:
    """Points of the map's own features, photos turned to one heading, poses kept."""
    from .scene.headings import turns_from_poses
    from .scene.posed import empty_view, map_posed
    from .scene.triangulate import TriangulationOptions

    if turning(options):
        store = turn(options, store, turns_from_poses(views), facts)
    views = [
        empty_view(v.name, v.camera, v.cam_from_world, store.turns.get(v.name, 0)) for v in views
    ]
    model = map_posed(views, store, TriangulationOptions(min_length=options.min_length))
    return model, store


def turning(options: argparse.Namespace) -> bool:
    """Whether photos are turned to one heading, which SIFT does not need."""
    return bool(options.turns == "auto" and options.features != "sift")


def grade_of(model: SceneModel, names: Sequence[str], pairs: float | None) -> Grade:
    """What a model of so many photos is worth. pairs: share that agrees, where it is known."""
    from .scene.grade import grade_model

    return grade_model(model, len(names), pairs=pairs)


def turn(
    options: argparse.Namespace,
    store: FeatureStore,
    turns: dict[str, int],
    facts: dict[str, PhotoFacts],
) -> FeatureStore:
    """The store with turned photos; networks for the turned sizes if needed."""
    from .photos.feature_network import feature_settings

    before = {name: store.turns.get(name, 0) for name in turns}
    if turns == before:
        return store
    if any((k - before[name]) % 2 for name, k in turns.items()):
        sizes = [fact.size_turned(store.turns.get(fact.name, 0)) for fact in facts.values()]
        sizes += [
            facts[name].size_turned(k)
            for name, k in turns.items()
            if name in facts and (k - before[name]) % 2
        ]
        spec = feature_settings(
            options.features, options.weights, options.keypoints, sizes, store.work
        )
        store = store.with_spec(spec)
    store.turns.update(turns)
    changed = sum(1 for name, k in turns.items() if k != before[name])
    log.info("turned %d photos to one heading", changed)
    store.prepare(turns)
    return store


def rough_positions(
    options: argparse.Namespace, names: Sequence[str], facts: dict[str, PhotoFacts]
) -> list[F64 | None] | None:
    """Where the photos were taken, to choose pairs by; None where nothing tells."""
    from .photos.positions import gps_from_exif, local_positions, read_gps, read_positions

    if options.positions is not None:
        known = read_positions(options.positions)
    else:
        if options.gps == "none":
            return None
        named = options.gps not in ("auto", "exif")
        gps = read_gps(Path(options.gps)) if named else gps_from_exif(facts.values())
        known = local_positions(gps)[0] if gps else {}
    return [known.get(name) for name in names] if known else None


def finish(
    options: argparse.Namespace, model: SceneModel, facts: dict[str, PhotoFacts]
) -> SceneModel:
    """Clean, then scale and orient the world as far as anything tells."""
    return oriented(options, cleaned(options, model), facts)


def cleaned(options: argparse.Namespace, model: SceneModel) -> SceneModel:
    """Without points that few photos see or see badly."""
    import numpy as np

    from .scene.clean import CleanOptions, clean

    ids = np.concatenate([view.point_id for view in model.views])
    length = np.bincount(ids, minlength=len(model.xyz))
    few = min(options.min_length, int(length.min()))
    return clean(model, CleanOptions(min_length=few, max_error_px=options.max_error))


def oriented(
    options: argparse.Namespace, model: SceneModel, facts: dict[str, PhotoFacts]
) -> SceneModel:
    """In metres, upright and in its place on Earth, as far as positions and photos tell."""
    import numpy as np

    from .photos.positions import gps_from_exif, local_positions, read_gps, read_positions
    from .scene.align import align_to_positions
    from .scene.upright import LEVEL, told_down

    if options.positions is not None:
        positions = read_positions(options.positions)
        source = options.positions.name
        model = align_to_positions(model, positions, source=source, facts=facts, explicit=True)
    elif options.gps != "none" and not (options.gps == "auto" and options.metric):
        explicit = options.gps not in ("auto", "exif")
        if explicit:
            gps, source = read_gps(Path(options.gps)), Path(options.gps).name
        else:
            gps, source = gps_from_exif(facts.values()), "EXIF"
        seen = {view.name for view in model.views}
        gps = {name: place for name, place in gps.items() if name in seen}
        if gps or options.gps != "auto":
            signed = all(place.signed for place in gps.values())
            positions, origin = local_positions(gps) if gps else ({}, None)
            model = align_to_positions(
                model,
                positions,
                source=source,
                facts=facts,
                axes="compass" if signed else "unsigned",
                explicit=explicit,
            )
            if model.metric and origin is not None:
                place = origin if signed else None
                return replace(model, georeference=place, gravity=np.array([0.0, 0.0, -1.0]))
    down = told_down(model.views, facts)
    if down is not None:
        how = "assumed from upright photos" if down.told_by == LEVEL else f"by {down.told_by}"
        model = replace(model, gravity=down.direction, notes=[*model.notes, f"gravity {how}"])
    return model
