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

from edge_reloc.command_line.program import program
from edge_reloc.errors import ConfigError, MappingError

from .work_folder import work_folder

if TYPE_CHECKING:
    from .photos.features import FeatureStore
    from .photos.listing import PhotoFacts
    from .scene.model import SceneModel

log = logging.getLogger("edge_reloc_export.map")

FEATURES = ("waymark", "sift", "xfeat", "edgepoint2")
MODEL_FILE = "model.npz"


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
    add("--weights", type=Path, help="weights of learned features (waymark ships with its own)")
    add("--keypoints", type=int, default=2048, help="keypoints a photo (default 2048)")
    add(
        "--turns",
        choices=("auto", "never"),
        default="auto",
        help="turn photos by quarter turns to one heading for learned features (default auto)",
    )
    add("--min-length", type=int, default=3, help="photos that must see a point (default 3)")
    add("--max-error", type=float, default=2.0, help="mean reprojection error, px (default 2)")
    add("--work", type=Path, help="folder for what can be resumed (default OUTPUT.work)")
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Map the photos, write the bundle and print its summary; 0 when it is written."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    started = time.perf_counter()
    work = options.work or work_folder(options.output)
    from .photos.features import turned
    from .photos.listing import kinds_not_read, list_photos, read_facts
    from .scene.model import save_model

    names = list_photos(options.images, options.list)
    not_read = [] if options.list else kinds_not_read(options.images)
    for line in not_read:
        log.warning("%s: %s", options.images, line)
    facts = read_facts(options.images, names)
    store = _open_store(options, work, names, facts)
    usable = store.prepare(names)
    model, store = _reconstruct(options, store, usable, facts)
    store.spec = turned(store.spec, {v.name: v.quarter_turns for v in model.views})
    model = _finish(options, model, facts)
    store.save()
    save_model(work / MODEL_FILE, model)
    summary = _summary(model, names)
    summary["not_read"] = not_read
    from .packing.pack import pack_map

    pack_map(model, store, store.spec, options.output, name=options.output.name)
    summary["megabytes"] = round(
        sum(f.stat().st_size for f in options.output.rglob("*") if f.is_file()) / 1e6, 2
    )
    summary["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(summary, indent=1) if options.json else _text(summary, options.output))
    return 0


def _open_store(
    options: argparse.Namespace, work: Path, names: list[str], facts: dict[str, PhotoFacts]
) -> FeatureStore:
    from .photos.feature_network import feature_settings
    from .photos.features import FeatureStore
    from .photos.listing import refusal_of

    options.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
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
) -> tuple[SceneModel, FeatureStore]:
    """Points and poses by whichever way the options name."""
    from .scene.headings import turns_from_matches, turns_from_poses

    turning = options.turns == "auto" and options.features != "sift"
    if options.poses is not None:
        from edge_reloc.reference.colmap import read_model

        from .scene.posed import map_posed, posed_views
        from .scene.triangulate import TriangulationOptions

        if options.camera is not None:
            raise ConfigError("--camera and --poses exclude each other: the model has cameras")
        views, without = posed_views(read_model(options.poses), names, store)
        if turning:
            store = _turn(options, store, turns_from_poses(views), facts)
            views = [replace(v, quarter_turns=store.turns.get(v.name, 0)) for v in views]
        model = map_posed(views, store, TriangulationOptions(min_length=options.min_length))
        model.metric = options.metric
        if without:
            model.notes.append(f"no pose in {options.poses}: {', '.join(without)}")
        return model, store
    if options.metric:
        raise ConfigError("--metric says what unit --poses has, but no --poses were given")
    from edge_reloc.geometry.camera import read_camera

    from .scene.sfm import map_photos

    camera = None if options.camera is None else read_camera(options.camera)
    if turning:
        store = _turn(options, store, turns_from_matches(store, names), facts)
    return map_photos(store, names, facts, camera), store


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


def _finish(
    options: argparse.Namespace, model: SceneModel, facts: dict[str, PhotoFacts]
) -> SceneModel:
    """Clean, then scale and orient the world as far as anything tells."""
    import numpy as np

    from .photos.positions import gps_from_exif, local_positions, read_gps, read_positions
    from .scene.align import align_to_positions
    from .scene.clean import CleanOptions, clean
    from .scene.gravity import level_axis

    ids = np.concatenate([view.point_id for view in model.views])
    length = np.bincount(ids, minlength=len(model.xyz))
    few = min(options.min_length, int(length.min()))
    model = clean(model, CleanOptions(min_length=few, max_error_px=options.max_error))
    if options.positions is not None:
        positions = read_positions(options.positions)
        model = align_to_positions(model, positions, source=options.positions.name)
    elif options.gps != "none" and not (options.gps == "auto" and options.metric):
        if options.gps in ("auto", "exif"):
            gps, source = gps_from_exif(facts.values()), "EXIF"
        else:
            gps, source = read_gps(Path(options.gps)), Path(options.gps).name
        seen = {view.name for view in model.views}
        gps = {name: place for name, place in gps.items() if name in seen}
        if gps or options.gps != "auto":
            positions, origin = local_positions(gps) if gps else ({}, None)
            model = align_to_positions(model, positions, source=source)
            if model.metric and origin is not None:
                return replace(model, georeference=origin, gravity=np.array([0.0, 0.0, -1.0]))
    gravity = level_axis(model.views, {f.name: f.quarter_turns for f in facts.values()})
    if gravity is not None:
        model = replace(
            model, gravity=gravity, notes=[*model.notes, "gravity assumed from upright photos"]
        )
    return model


def _summary(model: SceneModel, names: Sequence[str]) -> dict[str, Any]:
    from .scene.clean import point_statistics

    statistics = point_statistics(model)
    used = {view.name for view in model.views if len(view.point_id)}
    return {
        "photos": len(used),
        "skipped": [name for name in names if name not in used],
        "points": len(model.xyz),
        "mean_track_length": round(float(statistics.length.mean()), 2),
        "mean_reprojection_error_px": round(float(statistics.error_px.mean()), 3),
        "metric": model.metric,
        "georeferenced": model.georeference is not None,
        "turned": sum(1 for view in model.views if view.quarter_turns),
        "notes": model.notes,
    }


def _text(summary: dict[str, Any], output: Path) -> str:
    skipped = summary["skipped"]
    lines = [
        f"{output}: {summary['points']} points from {summary['photos']} photos, "
        f"{summary['megabytes']} MB, {summary['seconds']} s",
        f"  seen by {summary['mean_track_length']} photos each, "
        f"reprojection error {summary['mean_reprojection_error_px']} px, "
        f"{'metric' if summary['metric'] else 'not metric'}"
        f"{', georeferenced' if summary['georeferenced'] else ''}",
    ]
    if summary["turned"]:
        lines.append(f"  {summary['turned']} photos were turned to the map's heading")
    if skipped:
        lines.append(f"  {len(skipped)} photos not used: {', '.join(skipped)}")
    lines += [f"  {note}" for note in [*summary["not_read"], *summary["notes"]]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
