"""Write the networks of a map as strongly typed float16 ONNX, for TensorRT."""

from __future__ import annotations

import argparse
import fnmatch
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import program
from edge_reloc.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from .float16.prove import Float16Network

PHOTOS = 12  # enough for the ranges: they hardly grow after the first few


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc export onnx", description=__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--map", type=Path, help="map bundle; the files are added to it")
    what.add_argument("--demo", action="store_true", help="the map that ships with the package")
    what.add_argument("--onnx", type=Path, help="a single network instead of a map")
    add("--output", type=Path, help="write a new bundle (or, with --onnx, the file) here instead")
    add(
        "--photos",
        type=Path,
        help="folder of photos that show the networks' ranges "
        "(default: those that the map was made of)",
    )
    add("--count", type=whole(1), default=PHOTOS, help=f"photos of these to use (default {PHOTOS})")
    add(
        "--keep-float32",
        action="append",
        default=[],
        metavar="LAYER",
        help="layer, or pattern such as 'network.fusion*', that stays float32; repeatable",
    )
    add("--strict", action="store_true", help="refuse a layer that overflows, add no islands")
    add("--drop-float32", action="store_true", help="leave the float32 files out: half the size")
    add("--json", action="store_true", help="print everything, with every layer's range, as JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.output is None and not options.map:
        parser.error("--output is required with --demo and --onnx")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("edge_reloc_export").setLevel(logging.INFO)
    reports = _file(options) if options.onnx else _bundle(options)
    print(json.dumps(reports, indent=1) if options.json else _text(reports, options))
    return 0


def _bundle(options: argparse.Namespace) -> list[dict[str, Any]]:
    from edge_reloc.running.demo import DEMO

    return add_float16(
        DEMO / "map" if options.demo else options.map,
        options.output,
        DEMO / "frames" if options.demo else options.photos,
        count=options.count,
        keep=options.keep_float32,
        strict=options.strict,
        drop_float32=options.drop_float32,
    )


def add_float16(
    where: Path,
    output: Path | None,
    folder: Path | None,
    *,
    count: int,
    keep: Sequence[str] = (),
    strict: bool = False,
    drop_float32: bool = False,
) -> list[dict[str, Any]]:
    """Give a map float16 networks, there or in a bundle of its own; a report of each.

    folder: `count` photos of it show the networks' ranges; None: those that the map was
    made of. keep, strict: see `convert_network`.
    """
    from edge_reloc.bundle import extend_bundle, open_bundle
    from edge_reloc.bundle.manifest import NetworkEntry
    from edge_reloc.methods import bundle_networks

    from .float16.calibration_photos import map_photos, photos_of
    from .float16.feeds import record_feeds
    from .float16.prove import convert_network
    from .nets.local_features import float32_layers
    from .nets.scene_coordinates import FLOAT32_LAYERS as COORDINATE_LAYERS
    from .packing.networks import add_network

    bundle = open_bundle(where)
    networks = [n for n in bundle_networks(bundle.manifest) if bundle.has(n.file)]
    if not networks:
        raise EngineError(
            f"{where}: holds no network in float32; train one with 'edge-reloc train --map {where}'"
        )
    photos = photos_of(folder, count) if folder else map_photos(where, count)
    feeds = record_feeds(bundle, list(photos.values()))
    models = {n.file: _named(bundle.path(n.file)) for n in networks}
    islands = _islands(models, keep, str(where))
    for network in networks:
        if network.role == "features":
            islands[network.file] += float32_layers(bundle.manifest.features.kind)
        if network.encoder is not None:
            inside = [f"encoder.{layer}" for layer in float32_layers(network.encoder)]
            # Those that this network has: cells asked for their middles need no heat.
            layers = [node.name for node in models[network.file].graph.node]
            islands[network.file] += [
                layer for layer in (*inside, *COORDINATE_LAYERS) if fnmatch.filter(layers, layer)
            ]
    converted = {
        file: convert_network(model, feeds.get(file, []), file, keep=islands[file], strict=strict)
        for file, model in models.items()
    }
    reports = []
    with extend_bundle(where, output) as writer:
        for network in networks:
            result = converted[network.file]
            add_network(writer, network.float16_file, result.graph.model.SerializeToString())
            before = bundle.manifest.files[network.file].nbytes
            after = writer.manifest.files[network.float16_file].nbytes
            report = _report(result, network.file, before, after, list(photos))
            reports.append({"role": network.role, **report})
            writer.manifest.networks[network.file] = NetworkEntry(
                role=network.role,
                float16=network.float16_file,
                islands=result.graph.islands,
                largest_activation=tuple(report["largest"][:1]),
            )
            if drop_float32:
                writer.remove(network.file)
        writer.manifest.parity = {}  # it spoke of other files
    return reports


def _file(options: argparse.Namespace) -> list[dict[str, Any]]:
    from edge_reloc.files import write_atomic

    from .float16.calibration_photos import image_feeds, photos_of
    from .float16.prove import convert_network

    model = _named(options.onnx)
    photos = photos_of(options.photos, options.count) if options.photos else {}
    feeds = image_feeds(options.onnx, photos) if photos else []
    where = str(options.onnx)
    result = convert_network(model, feeds, where, keep=options.keep_float32, strict=options.strict)
    content = result.graph.model.SerializeToString()
    write_atomic(options.output, content)
    before = options.onnx.stat().st_size
    return [_report(result, str(options.output), before, len(content), list(photos))]


def _named(path: Path) -> Any:
    """ModelProto of a file, its layers named for people."""
    from .onnx.layer_names import name_layers
    from .onnx.model_file import load_graph

    model = load_graph(path)
    name_layers(model)
    return model


def _islands(models: dict[str, Any], patterns: Sequence[str], where: str) -> dict[str, list[str]]:
    """The patterns that mean something in each network; each must in one."""
    names = {file: [node.name for node in model.graph.node] for file, model in models.items()}
    for pattern in patterns:
        if not any(fnmatch.filter(found, pattern) for found in names.values()):
            example = next(iter(names.values()))[0]
            raise ConfigError(
                f"{where}: no network has a layer '{pattern}'; names look like '{example}', "
                f"patterns like '{example.split('/')[0]}*'"
            )
    return {
        file: [pattern for pattern in patterns if fnmatch.filter(found, pattern)]
        for file, found in names.items()
    }


def _report(
    result: Float16Network, name: str, before: int, after: int, photos: list[str]
) -> dict[str, Any]:
    graph = result.graph
    return {
        "network": name,
        "heavy_layers": graph.heavy,
        "heavy_layers_in_float16": graph.heavy_half,
        "float16_layers": list(graph.half),
        "islands": list(graph.islands),
        "bytes_float32": before,
        "bytes_float16": after,
        "largest": [
            {
                "layer": r.layer,
                "operator": r.operator,
                "largest": r.largest,
                "share_of_float16": r.share,
                "photo": photos[r.feed],
            }
            for r in result.ranges
        ],
    }


def _text(reports: list[dict[str, Any]], options: argparse.Namespace) -> str:
    lines = []
    for report in reports:
        lines.append(
            f"{report['network']}: {report['heavy_layers_in_float16']} of "
            f"{report['heavy_layers']} convolutions and matrix products in float16, "
            f"{report['bytes_float32'] / 1e6:.2f} → {report['bytes_float16'] / 1e6:.2f} MB"
        )
        for entry in report["largest"][:3]:
            lines.append(
                f"  {entry['layer']:40} reaches {entry['largest']:8.4g}, "
                f"{entry['share_of_float16']:7.3%} of float16's largest, in {entry['photo']}"
            )
        if report["islands"]:
            lines.append(f"  in float32: {', '.join(report['islands'])}")
        if not report["largest"]:
            lines.append("  ranges not looked at: no photos were given")
    target = options.output or options.map
    lines.append(f"{target}: written; compare it with 'edge-reloc export parity'")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
