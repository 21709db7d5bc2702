"""Make a map bundle of photos: with known poses, or of the photos alone."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import above_zero, whole
from edge_reloc.errors import BundleError, ConfigError, MappingError

from .interruption import long_program
from .progress import LogHandler
from .summary import summarise, to_text
from .work_folder import at_work, work_folder

if TYPE_CHECKING:
    from .cluster.executor import Executor
    from .photos.listing import PhotoFacts
    from .scene.grade import Grade

log = logging.getLogger("edge_reloc_export.map")

FEATURES = ("waymark", "sift", "xfeat", "edgepoint2")
MODEL_FILE = "model.npz"
MANY_PHOTOS = 60  # from which on a process for every core is worth its start


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
        "--embedding",
        choices=("local", "dinov2"),
        default="local",
        help="what describes a whole photo: its local features (default), or DINOv2's class "
        "token by a second network",
    )
    add(
        "--embedding-weights",
        type=Path,
        help="DINOv2's published state dict, e.g. dinov2_vitb14_pretrain.pth",
    )
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
    add(
        "--tile-photos",
        type=whole(20, 100_000),
        metavar="N",
        help="map in tiles of at most N photos that overlap, e.g. 400: OUTPUT is a map of tiles",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="who does the work: local, local:N (processes of this machine), auto, "
        "ray://HOST:PORT or HOST:PORT (Ray); default: local where there are many photos",
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
    with at_work(work), _workers(options, len(names)) as workers:
        facts = read_facts(options.images, names)
        summary = _map(options, work, names, facts, workers)
    summary["not_read"] = not_read
    summary["megabytes"] = round(
        sum(f.stat().st_size for f in options.output.rglob("*") if f.is_file()) / 1e6, 2
    )
    summary["seconds"] = round(time.perf_counter() - started, 1)
    print(json.dumps(summary, indent=1) if options.json else to_text(summary, options.output))
    return 0


def _workers(options: argparse.Namespace, photos: int) -> AbstractContextManager[Executor | None]:
    """Who extracts, matches and tries: the executor that was named, or one of this machine."""
    from .cluster.choose_executor import open_executor

    if options.cluster is not None:
        return open_executor(options.cluster)
    several = len(os.sched_getaffinity(0)) > 1
    if options.tile_photos is not None or (several and photos >= MANY_PHOTOS):
        return open_executor("local")
    return nullcontext()


def _map(
    options: argparse.Namespace,
    work: Path,
    names: list[str],
    facts: dict[str, PhotoFacts],
    workers: Executor | None,
) -> dict[str, Any]:
    """Write the bundle and what its work folder keeps; the summary."""
    from .integrity.measure import measure
    from .packing.pack import pack_map
    from .packing.presets import PRESETS
    from .photos.features import turned
    from .reconstruct import open_photos, reconstruct
    from .scene.model import save_model

    tokens = None
    if options.embedding_weights is not None:
        from .packing.class_tokens import dinov2_tokens

        tokens = dinov2_tokens(options.embedding_weights, work)
    store = open_photos(options, work, names, facts)
    store.workers = workers
    usable = store.prepare(names)
    copies = {} if options.poses else store.copies(usable)
    usable = [name for name in usable if name not in copies]
    if options.tile_photos is not None:
        from .city.tiled_map import map_city

        assert workers is not None
        return {**map_city(options, store, usable, facts, workers), "copies": copies}
    model, store, grade = reconstruct(options, store, usable, facts)
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
        tokens=tokens,
    )
    summary["packed_points"] = len(packed.xyz)
    integrity = measure(options.output, packed, store, workers=workers)
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
    if (options.embedding == "dinov2") != (options.embedding_weights is not None):
        raise ConfigError(
            "--embedding dinov2 and --embedding-weights FILE need each other: the weights are "
            "DINOv2's published state dict"
        )
    if options.embedding == "dinov2" and options.tile_photos is not None:
        raise ConfigError("--embedding dinov2: is for single maps, not for tiles (--tile-photos)")
    if options.tile_photos is None:
        check_destination(options.output)
    else:
        _check_tiled(options.output)
    output = options.output.resolve()
    if options.work is not None and output in (
        options.work.resolve(),
        *options.work.resolve().parents,
    ):
        raise ConfigError(
            f"--work {options.work}: lies in the map's own folder, which is replaced as a whole; "
            f"name another one (default {work_folder(options.output)})"
        )


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


def _check_tiled(output: Path) -> None:
    """BundleError where something else than a map of tiles would have to go."""
    from edge_reloc.tiles.index import is_tiled

    if output.exists() and not is_tiled(output) and (output.is_file() or any(output.iterdir())):
        raise BundleError(
            f"{output}: exists and is not a map of tiles; it is left as it is, name another folder"
        )


if __name__ == "__main__":
    sys.exit(main())
