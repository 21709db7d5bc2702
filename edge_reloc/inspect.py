"""What is in a map bundle, and is it intact: `python -m edge_reloc.inspect`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_line.arguments import add_signature_argument
from .command_line.program import OK, program
from .errors import one_line

if TYPE_CHECKING:
    from .tiles.tiled_bundle import TiledBundle

PLACE = ("latitude_deg", "longitude_deg", "altitude_m")
SHOWN = 5  # residuals, the worst


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Describe a bundle; 0 when it can be opened (and verified)."""
    options = parse(argv)
    from .tiles.tiled_bundle import TiledBundle, open_map

    bundle = open_map(options.map, verify=options.verify, require_signed=options.require_signed)
    if options.camera is not None:
        from .bundle.mapping_cameras import named_camera

        print(json.dumps(named_camera(bundle, options.camera).to_dict(), indent=1))
        return OK
    if isinstance(bundle, TiledBundle):
        return _show_city(bundle, options)
    from .diagnosis.contents import describe, memory_by_method

    values = describe(bundle)
    values["verified"] = options.verify or options.require_signed is not None
    values["signed_by"] = None if options.require_signed is None else str(options.require_signed)
    if options.memory:
        values["memory"] = memory_by_method(bundle)
    print(json.dumps(values, indent=1) if options.json else to_text(values))
    return OK


def _show_city(bundle: TiledBundle, options: argparse.Namespace) -> int:
    """A map of tiles, in a table."""
    from .diagnosis.city import city_memory, city_text, describe_city, memory_lines

    values = describe_city(bundle)
    lines = city_text(values, world_text(values["world"]))
    if options.memory:
        plan = city_memory(bundle)
        values["memory"] = plan.to_json()
        lines += [f"memory     {line}" for line in memory_lines(plan)]
    values["verified"] = options.verify
    values["signed_by"] = None if options.require_signed is None else str(options.require_signed)
    if options.verify:
        lines.append("verified   every file of every tile is what its manifest says")
    if options.require_signed is not None:
        lines.append(f"signed     by the key to {options.require_signed}")
    print(json.dumps(values, indent=1) if options.json else "\n".join(lines))
    return OK


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="edge-reloc inspect", description="Describe a map bundle and check its files."
    )
    parser.add_argument(
        "place", type=Path, nargs="?", metavar="DIR", help="map bundle, or map of tiles"
    )
    parser.add_argument("--map", type=Path, help="the same")
    parser.add_argument(
        "--camera",
        metavar="NAME",
        help="print this mapping camera as a camera file (> camera.json), and nothing else",
    )
    parser.add_argument(
        "--verify", action="store_true", help="compare every file with its sha256 (reads them all)"
    )
    add_signature_argument(parser)
    parser.add_argument(
        "--memory",
        action="store_true",
        help="open every method once and show the buffers that it takes",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    options = parser.parse_args(argv)
    if (options.place is None) == (options.map is None):
        parser.error("name one map bundle, as DIR or --map DIR")
    options.map = options.map or options.place
    return options


def _integrity_text(integrity: dict[str, Any] | None) -> str:
    if integrity is None:
        return "guessed: never measured on photos left out of the map"
    first, refined = (sqrt(integrity[which]["factor"]) for which in ("first", "refined"))
    return (
        f"{first:.1f} times what a pose's own matches say, {refined:.1f} times after the second "
        f"pass (95 % of {integrity['photos']} tries on photos left out of the map)"
    )


def world_text(world: dict[str, Any]) -> str:
    """Unit, vertical and place on Earth; the keys are those of a manifest's `world`."""
    return (
        f"{'metres' if world['metric'] else 'not metric (units of its own)'}, "
        f"gravity {'known' if world['gravity'] else 'unknown'}, "
        f"{_origin_text(world['georeference'])}"
    )


def _origin_text(place: dict[str, float] | None) -> str:
    if not place:
        return "no geo-reference"
    latitude, longitude, altitude = (place.get(key) for key in PLACE)
    return (
        f"origin at latitude {latitude:.8f}, longitude {longitude:.8f}, altitude {altitude:.3f} m"
        if None not in (latitude, longitude, altitude)
        else f"origin at {place}"
    )


def _alignment_text(alignment: dict[str, Any] | None, unit: str) -> list[str]:
    """What the world was aligned to, and the worst that is left of the difference."""
    if alignment is None:
        return []
    residuals, left_out = alignment["residuals"], alignment["left_out"]
    worst = sorted(residuals, key=lambda name: -residuals[name])[:SHOWN]
    told = ", ".join(
        f"{name} {residuals[name]:.3g} {unit}" + (" (left out)" if name in left_out else "")
        for name in worst
    )
    text = f"aligned    to {alignment['source']}, {alignment['items']} items"
    return [f"{text}, residuals {told}" if told else text]


def to_text(values: dict[str, Any]) -> str:
    """The description as lines for people."""
    world, features, embedding = values["world"], values["features"], values["embedding"]
    size = sum(entry["nbytes"] for entry in values["files"].values())
    lines = [
        f"map        {values['name']}"
        + (f", made by {values['generator']}" if values["generator"] else ""),
        f"world      {world_text(world)}",
        *_alignment_text(values["alignment"], "m" if world["metric"] else "units"),
        f"features   {features.get('kind')}, {features.get('dim')} numbers each, "
        f"up to {features.get('keypoints')} a frame",
        f"embedding  {embedding.get('kind', 'none')}"
        + (f", {embedding['dim']} numbers" if "dim" in embedding else ""),
        f"content    {values['points']} points, {values['cells']} cells, "
        f"{values['views']} mapping photos",
        f"methods    {values['method']} (default)"
        + "".join(f", {name}" for name in values["methods"] if name != values["method"]),
    ]
    if values["runs"]:
        lines.append(f"can run    {', '.join(values['runs'])}")
    lines += [f"trained    {name}: {text}" for name, text in values["judged"].items()]
    grade = values["statistics"].get("grade")
    if isinstance(grade, dict):
        reasons = grade.get("reasons")
        words = [grade.get("verdict"), *(reasons if isinstance(reasons, list) else ())]
        lines.append(f"grade      {'; '.join(str(word) for word in words)}")
    lines.append(f"errors     {_integrity_text(values['integrity'])}")
    for name, camera in values["cameras"].items():
        lines.append(
            f"camera     {name}: {camera['model']} {camera['width']}x{camera['height']}, "
            f"focal length {camera['fx']:.1f} px"
        )
    lines.append(f"files      {len(values['files'])}, {size / 1e6:.2f} MB")
    width = max([len(name) for name in values["files"]] + [0])
    for name, entry in values["files"].items():
        shape = "x".join(str(n) for n in entry["shape"]) if entry["shape"] else ""
        lines.append(
            f"  {name:<{width}} {entry['nbytes'] / 1e3:10.1f} kB  "
            f"{entry['dtype'] or '':<8} {shape:<14} {entry['unit'] or ''}".rstrip()
        )
    for name, memory in values.get("memory", {}).items():
        lines.append(f"memory     {name}: {_memory_text(memory)}")
    if values["verified"]:
        lines.append("verified   every file is what the manifest says")
    if values["signed_by"]:
        lines.append(f"signed     by the key to {values['signed_by']}")
    return "\n".join(one_line(line) for line in lines)  # the map's own words are among them


def _memory_text(memory: dict[str, Any]) -> str:
    if "unavailable" in memory:
        return str(memory["unavailable"])
    return (
        f"buffers {memory['arena_bytes'] / 1e6:.1f} MB, "
        f"map files {memory['map_bytes'] / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
