"""Make a map bundle of photos: with known poses, or of the photos alone."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import above_zero, whole
from edge_reloc.errors import ConfigError, DiskError, MappingError

from .interruption import long_program
from .progress import LogHandler
from .summary import grade_line, summarise, to_text
from .work_folder import at_work, work_folder

if TYPE_CHECKING:
    from edge_reloc.arrays import F64

    from .photos.features import FeatureStore
    from .photos.listing import PhotoFacts
    from .scene.grade import Grade
    from .scene.model import SceneModel, View

log = logging.getLogger("edge_reloc_export.map")

FEATURES = ("waymark", "sift", "xfeat", "edgepoint2")
MODEL_FILE = "model.npz"
# What pycolmap, which has no class for it, says where the disk is full.
DATABASE_FAILED = ("SQLite error:", "No registered database factory succeeded")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc map", description=__doc__)
    add = parser.add_argument
    add("--images", type=Path, required=True, help="folder of photos, with those below it")
    add("--output", type=Path, required=True, help="map bundle to write, e.g. maps/house")
    add("--list", type=Path, help="text file of photo names to use (default: all in the folder)")
    add("--poses", type=Path, help="COLMAP model of the photos (poses, cameras), text or binary")
    add("--metric", action="store_true", help="the unit of --poses is the metre")
    add("--camera", type=Path, help="camera file, kept fixed (default: EXIF or a guess, refined)")
    add("--positions", type=Path, help="csv of camera positions in metres: name,x,y,z (z up)")
    add(
        "--gps",
        default="auto",
        help="csv with name,lat,lon,alt; 'exif'; 'none'; 'auto' (default): EXIF when it is there",
    )
    add("--features", choices=FEATURES, default="waymark", help="local features (default waymark)")
    add(
        "--geometry",
        choices=("auto", "same", "sift"),
        default="auto",
        help="features that place the photos: 'same' as the map's, 'sift', or 'auto' (default): "
        "the same, and sift where the reconstruction is not good",
    )
    add("--weights", type=Path, help="weights of learned features (waymark ships with its own)")
    add(
        "--keypoints",
        type=whole(16, 1 << 16),
        default=2048,
        help="keypoints a photo (default 2048)",
    )
    add(
        "--preset",
        choices=("full", "standard", "tiny"),
        default="full",
        help="how large the map may be: full (default): all points, descriptors as float16; "
        "standard: half of the points, as int8; tiny: a quarter",
    )
    add(
        "--turns",
        choices=("auto", "never"),
        default="auto",
        help="turn photos by quarter turns to one heading for learned features (default auto)",
    )
    add(
        "--min-length",
        type=whole(2, 1000),
        default=3,
        help="photos that must see a point (default 3)",
    )
    add(
        "--max-error",
        type=above_zero(1000),
        default=2.0,
        help="mean reprojection error, px (default 2)",
    )
    add("--work", type=Path, help="folder for what can be resumed (default OUTPUT.work)")
    add(
        "--any-grade",
        action="store_true",
        help="write the map even where its reconstruction is poor and would be wrong",
    )
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Map the photos, write the bundle and print its summary; 0 when it is written."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    started = time.perf_counter()
    _check_inputs(options)
    work = options.work or work_folder(options.output)
    from .photos.listing import kinds_not_read, list_photos, read_facts

    names = list_photos(options.images, options.list)
    not_read = [] if options.list else kinds_not_read(options.images)
    for line in not_read:
        log.warning("%s: %s", options.images, line)
    with at_work(work):
        summary = _map(options, work, names, read_facts(options.images, names))
    summary["not_read"] = not_read
    summary["megabytes"] = round(
        sum(f.stat().st_size for f in options.output.rglob("*") if f.is_file()) / 1e6, 2
    )
    summary["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(summary, indent=1) if options.json else to_text(summary, options.output))
    return 0


def _map(
    options: argparse.Namespace, work: Path, names: list[str], facts: dict[str, PhotoFacts]
) -> dict[str, Any]:
    """Write the bundle and what its work folder keeps; the summary."""
    from .integrity.measure import measure
    from .packing.pack import pack_map
    from .packing.presets import PRESETS
    from .photos.features import turned
    from .scene.model import save_model

    store = _open_store(options, work, names, facts)
    usable = store.prepare(names)
    copies = {} if options.poses else store.copies(usable)
    usable = [name for name in usable if name not in copies]
    model, store, grade = _reconstruct(options, store, usable, facts)
    store.spec = turned(store.spec, {v.name: v.quarter_turns for v in model.views})
    store.save()
    save_model(work / MODEL_FILE, model)
    summary = summarise(model, grade, names)
    summary["copies"] = copies
    _refuse_poor(options, grade)
    preset = PRESETS[options.preset]
    packed = pack_map(
        preset.applied(model),
        store,
        store.spec,
        options.output,
        name=options.output.name,
        grade=grade,
        int8=preset.int8,
    )
    integrity = measure(options.output, packed, store)
    summary["packed_points"] = len(packed.xyz)
    summary["left_out_tries"] = 0 if integrity is None else integrity.photos
    return summary


def _check_inputs(options: argparse.Namespace) -> None:
    """Refuse before the long work what would be refused after it."""
    from edge_reloc.bundle.writer import check_destination
    from edge_reloc.geometry.camera import read_camera
    from edge_reloc.reference.colmap import read_model

    from .photos.positions import read_gps, read_positions

    if options.poses is not None and options.camera is not None:
        raise ConfigError("--camera and --poses exclude each other: the model has cameras")
    if options.poses is None and options.metric:
        raise ConfigError("--metric says what unit --poses has, but no --poses were given")
    if options.camera is not None:
        read_camera(options.camera)
    if options.poses is not None:
        read_model(options.poses)
    if options.positions is not None:
        read_positions(options.positions)
    elif options.gps not in ("auto", "exif", "none"):
        read_gps(Path(options.gps))
    check_destination(options.output)
    output = options.output.resolve()
    if options.work is not None and output in (
        options.work.resolve(),
        *options.work.resolve().parents,
    ):
        raise ConfigError(
            f"--work {options.work}: lies in the map's own folder, which is replaced as a whole; "
            f"name another one (default {work_folder(options.output)})"
        )


def _open_store(
    options: argparse.Namespace, work: Path, names: list[str], facts: dict[str, PhotoFacts]
) -> FeatureStore:
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


def _reconstruct(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore, Grade]:
    """Points and poses by whichever way the options name, and what they are worth."""
    if options.poses is not None:
        model, store = _with_poses(options, store, names, facts)
        model = _finish(options, model, facts)
        return model, store, _grade(model, names, None)
    from .photos.positions import PositionsError

    best: tuple[SceneModel, FeatureStore, Grade] | None = None
    failure: MappingError | None = None
    for features in _geometries(options):
        try:
            model, own, pairs = _without_poses(options, store, names, facts, features)
        except PositionsError:
            raise
        except RuntimeError as error:
            if not any(words in str(error) for words in DATABASE_FAILED):
                raise
            raise DiskError(
                f"{store.work}: the database of the reconstruction cannot be written "
                f"({str(error).rpartition('] ')[2]}); make room, and the same command goes on"
            ) from error
        except MappingError as error:
            log.warning("geometry by %s: %s", features, error)
            failure = failure or error
            continue
        model = _finish(options, model, facts)
        found = model, own, _grade(model, names, pairs)
        log.info("geometry by %s: %s", features, grade_line(found[2]))
        if best is None or found[2].better_than(best[2]):
            best = found
        if best[2].verdict == "good":
            break
    if best is None:
        assert failure is not None
        raise failure
    return best


def _geometries(options: argparse.Namespace) -> list[str]:
    """Kinds of features to reconstruct with, one after the other until the grade is good."""
    own = options.features
    ways = {"same": [own], "sift": ["sift"], "auto": [own, "sift"]}[options.geometry]
    return list(dict.fromkeys(ways))


def _without_poses(
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
    near = _rough_positions(options, names, facts)
    if features == options.features:
        if _turning(options):
            store = _turn(options, store, turns_from_matches(store, names), facts)
        found = map_photos(store, names, facts, camera, near=near)
        model = found.model
    else:
        spec = feature_settings(features, None, options.keypoints, [], store.work)
        geometry = store.with_spec(spec)
        geometry.turns.clear()
        usable = geometry.prepare(names)
        found = map_photos(geometry, usable, facts, camera, near=near)
        model, store = _at_poses(options, store, found.model.views, facts)
        model.notes = [*found.model.notes, f"geometry by {features}"]
    return model, store, found.pairs


def _with_poses(
    options: argparse.Namespace,
    store: FeatureStore,
    names: list[str],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore]:
    """Points at the poses of a COLMAP model."""
    from edge_reloc.reference.colmap import read_model

    from .scene.posed import posed_views

    views, without = posed_views(read_model(options.poses), names, store)
    model, store = _at_poses(options, store, views, facts)
    model.metric = options.metric
    if without:
        model.notes.append(f"no pose in {options.poses}: {', '.join(without)}")
    return model, store


def _at_poses(
    options: argparse.Namespace,
    store: FeatureStore,
    views: Sequence[View],
    facts: dict[str, PhotoFacts],
) -> tuple[SceneModel, FeatureStore]:
    """Points of the map's own features, photos turned to one heading, poses kept."""
    from .scene.headings import turns_from_poses
    from .scene.posed import empty_view, map_posed
    from .scene.triangulate import TriangulationOptions

    if _turning(options):
        store = _turn(options, store, turns_from_poses(views), facts)
    views = [
        empty_view(v.name, v.camera, v.cam_from_world, store.turns.get(v.name, 0)) for v in views
    ]
    model = map_posed(views, store, TriangulationOptions(min_length=options.min_length))
    return model, store


def _turning(options: argparse.Namespace) -> bool:
    return bool(options.turns == "auto" and options.features != "sift")


def _grade(model: SceneModel, names: Sequence[str], pairs: float | None) -> Grade:
    from .scene.grade import grade_model

    return grade_model(model, len(names), pairs=pairs)


def _turn(
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


def _rough_positions(
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


def _finish(
    options: argparse.Namespace, model: SceneModel, facts: dict[str, PhotoFacts]
) -> SceneModel:
    """Clean, then scale and orient the world as far as anything tells."""
    import numpy as np

    from .photos.positions import gps_from_exif, local_positions, read_gps, read_positions
    from .scene.align import align_to_positions
    from .scene.clean import CleanOptions, clean
    from .scene.upright import LEVEL, told_down

    ids = np.concatenate([view.point_id for view in model.views])
    length = np.bincount(ids, minlength=len(model.xyz))
    few = min(options.min_length, int(length.min()))
    model = clean(model, CleanOptions(min_length=few, max_error_px=options.max_error))
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


def _refuse_poor(options: argparse.Namespace, grade: Grade) -> None:
    """No map of photos alone that would be wrong; a loud word where it may be."""
    if grade.verdict == "good":
        return
    told = "; ".join(grade.reasons)
    if grade.verdict == "poor" and options.poses is None and not options.any_grade:
        raise MappingError(
            f"{options.output}: not written, since the reconstruction is poor: {told}; take photos "
            f"with more overlap, give --camera FILE, leave wrong positions out (--gps none), or "
            f"write it all the same (--any-grade)"
        )
    log.warning("warning: the reconstruction is %s: %s", grade.verdict, told)


if __name__ == "__main__":
    sys.exit(main())
