"""Give a map another world: scale, orientation and place on Earth, from what is known of it."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import above_zero
from edge_reloc.command_line.program import OK
from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.inspect import world_text

from .interruption import long_program
from .progress import LogHandler
from .work_folder import at_work, work_folder

if TYPE_CHECKING:
    from edge_reloc.bundle import MapBundle

    from .world_frame.fit import WorldFit

FAMILIES = ("16h5", "25h9", "36h10", "36h11")
SHOWN = 20  # items of the table, the worst


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc align", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle to align")
    ways = parser.add_argument_group("what is known (one of these)")
    one = ways.add_mutually_exclusive_group(required=True)
    one.add_argument(
        "--gps", metavar="FILE", help="of photos: csv with name,lat,lon,alt; 'exif': their headers"
    )
    one.add_argument(
        "--positions", type=Path, metavar="FILE", help="of photos: csv with name,x,y,z (m, z up)"
    )
    one.add_argument(
        "--points",
        type=Path,
        metavar="FILE",
        help="surveyed points: gcp_list.txt of OpenDroneMap, or csv with name,lat,lon,alt or "
        "name,x,y,z and --marks",
    )
    one.add_argument("--tags", type=above_zero(100), metavar="M", help="AprilTags, side in m")
    one.add_argument(
        "--distances",
        type=Path,
        metavar="FILE",
        help="csv with from,to,metres: of photos, or of places of --marks",
    )
    one.add_argument("--to-map", type=Path, metavar="DIR", help="another map of the place")
    more = parser.add_argument_group("what belongs to it")
    more.add_argument(
        "--marks",
        type=Path,
        metavar="FILE",
        help="csv with name,photo,x,y: pixels of places",
    )
    more.add_argument("--tag-family", choices=FAMILIES, default="36h11", help="(default 36h11)")
    more.add_argument(
        "--tag-poses",
        type=Path,
        metavar="FILE",
        help="csv with id,x,y,z or id,lat,lon,alt, and perhaps qw,qx,qy,qz (default: scale only)",
    )
    more.add_argument(
        "--other-work", type=Path, metavar="DIR", help="of --to-map (default OTHER.work)"
    )
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="photos of the place, which are localised in the map (default: its mapping photos, "
        "by the work folder)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="JSON",
        help="camera file of --photos (default: the mapping camera that fits)",
    )
    parser.add_argument("--work", type=Path, help="work folder of the map (default MAP.work)")
    parser.add_argument("--output", type=Path, help="bundle to write (default: replace the map)")
    parser.add_argument(
        "--max-residual",
        type=above_zero(1e6),
        metavar="M",
        help="residual that is accepted, m (default: 2 %% of the extent of places and photos, 5 %% "
        "of lengths; of GPS and positions their own scatter)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the aligned bundle and print the residuals; 0 when it is written."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    _check(options)
    from edge_reloc.bundle import extend_bundle, open_bundle
    from edge_reloc.bundle.writer import check_destination

    from .world_frame.change import change_world
    from .world_frame.record import recorded

    bundle = open_bundle(options.map)
    check_destination(options.output or options.map)
    if bundle.manifest.world.parts:
        raise MappingError(
            f"{options.map}: combined of {', '.join(bundle.manifest.world.parts)}, which lie "
            f"apart in it, so that no one frame fits all; align each of them, then combine"
        )
    work = options.work or work_folder(options.map)
    with at_work(work, alone=False) if work.is_dir() else nullcontext():
        found = _fit(options, bundle, work)
    for warning in found.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    with extend_bundle(options.map, options.output) as writer:
        if writer.manifest.files != bundle.manifest.files:
            raise MappingError(f"{options.map}: was changed meanwhile; align it again")
        change_world(writer, bundle, found.similarity, found.world)
        writer.manifest.alignment = recorded(bundle.manifest.alignment, found)
    summary = _summary(found)
    target = options.output or options.map
    print(json.dumps(summary, indent=1) if options.json else _text(target, summary))
    return OK


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not belong together."""
    listed = options.points is not None and options.points.suffix != ".txt"
    if options.marks is not None and not (listed or options.distances):
        raise ConfigError("--marks belongs to --distances, or to --points of a csv")
    if listed and options.marks is None:
        raise ConfigError(
            f"--points {options.points}: a csv of places needs --marks FILE, the pixels that show "
            f"them; a gcp_list.txt holds both"
        )
    if options.tag_poses is not None and options.tags is None:
        raise ConfigError("--tag-poses needs --tags M, the side of a tag in metres")
    if options.other_work is not None and options.to_map is None:
        raise ConfigError("--other-work belongs to --to-map")
    if options.calibration is not None and options.photos is None and options.to_map is None:
        raise ConfigError("--calibration belongs to --photos; mapping photos have their cameras")
    if options.photos is not None and not options.photos.is_dir():
        raise ConfigError(f"--photos {options.photos}: no such folder of photos")
    _read(options)


def _read(options: argparse.Namespace) -> None:
    """Refuse files before photos are localised, not after it."""
    from edge_reloc.geometry.camera import read_camera

    from .photos.positions import read_gps, read_positions
    from .world_frame.april_tags import read_tags
    from .world_frame.control_points import read_gcp_list, read_marks, read_places
    from .world_frame.distances import read_distances

    if options.gps not in (None, "exif"):
        read_gps(Path(options.gps))
    if options.positions is not None:
        read_positions(options.positions)
    if options.points is not None and options.marks is None:
        read_gcp_list(options.points)
    elif options.points is not None:
        read_places(options.points)
    if options.marks is not None:
        read_marks(options.marks)
    if options.tag_poses is not None:
        read_tags(options.tag_poses, options.tags)
    if options.distances is not None:
        read_distances(options.distances)
    if options.calibration is not None:
        read_camera(options.calibration)


def _fit(options: argparse.Namespace, bundle: MapBundle, work: Path) -> WorldFit:
    """The world that fits what the options name."""
    from .photos.listing import list_photos
    from .world_frame import ways
    from .world_frame.posed_photos import localised_photos, mapping_photos

    if options.to_map is not None:
        return ways.to_map(options, bundle, work)
    if options.photos is not None:
        names = list_photos(options.photos)
        photos = localised_photos(bundle, options.photos, names, options.calibration)
    else:
        photos = mapping_photos(bundle, work)
    if options.gps is not None or options.positions is not None:
        return ways.to_photo_positions(options, photos)
    if options.points is not None:
        return ways.to_points(options, photos)
    if options.tags is not None:
        return ways.to_tags(options, photos)
    return ways.to_distances(options, photos)


def _summary(found: WorldFit) -> dict[str, Any]:
    """JSON-ready."""
    similarity, items = found.similarity, found.items
    return {
        "source": found.source,
        "scale": similarity.scale,
        "rotation": similarity.rotation.tolist(),
        "translation": similarity.translation.tolist(),
        "metric": found.world.metric,
        "gravity": found.world.gravity,
        "georeference": found.world.georeference,
        "residuals": {item.name: item.residual for item in items},
        "left_out": [item.name for item in items if item.left_out],
        "warnings": found.warnings,
    }


def _text(target: Path, summary: dict[str, Any]) -> str:
    """The table: what the world was fitted to, and what is left of the difference."""
    residuals, unit = summary["residuals"], "m" if summary["metric"] else "units"
    lines = [
        f"{target}: aligned to {summary['source']}, scale {summary['scale']:.6g}",
        f"  {world_text(summary)}",
        f"  residual {unit:<6} item",
    ]
    worst = sorted(residuals, key=lambda name: -residuals[name])
    for name in worst[:SHOWN]:
        left_out = ", left out" if name in summary["left_out"] else ""
        lines.append(f"  {residuals[name]:<15.4g} {name}{left_out}")
    if len(worst) > SHOWN:
        lines.append(f"  {'less':<15} {len(worst) - SHOWN} more")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
