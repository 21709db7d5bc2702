"""What float16 changes, from single numbers to poses, and which layers do it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import program
from edge_reloc.errors import EngineError
from edge_reloc.files import write_atomic

if TYPE_CHECKING:
    from edge_reloc.methods import Network

FEEDS = 4  # inputs per network for tensor errors and layer costs
MOST_LAYERS = 60  # a network with more heavy layers takes minutes: ask for it with --layers


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc export parity", description=__doc__)
    add = parser.add_argument
    add("--map", type=Path, help="map bundle with float32 and float16 networks")
    add("--demo", action="store_true", help="frames: those of the package, for its map in --map")
    add("--data", type=Path, help="frames: folder with images/, queries.txt and reference/")
    add("--source", help="frames: a folder of photos or a video, with --calibration")
    add("--calibration", type=Path, metavar="JSON", help="camera file for --source")
    add("--every", type=whole(1), default=1, help="take each n-th frame (default 1)")
    add(
        "--methods",
        help="comma-separated, as in 'edge-reloc evaluate' (default: every head with '+2')",
    )
    add("--work", type=Path, help="work folder of the map, for torch's networks (default MAP.work)")
    add(
        "--layers",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=f"what each layer costs (default: for networks of up to {MOST_LAYERS} heavy layers)",
    )
    add("--threads", type=whole(0, 1024), default=0, help="engine threads (0: all cores)")
    add("--write", action=argparse.BooleanOptionalAction, default=True, help="note it in the map")
    add("--output", type=Path, metavar="JSON", help="write everything here")
    add("--json", action="store_true", help="print everything as JSON")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program: also 1 when float16 misses its limits."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.map is None:
        parser.error("--map is required; of the demo: 'export onnx --demo --output MAP' makes one")
    if [options.demo, options.data is not None, options.source is not None].count(True) != 1:
        parser.error("give frames: either --data, --source or --demo")
    report = _report(options)
    if options.output:
        write_atomic(options.output, json.dumps(report, indent=1) + "\n")
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    from .comparison.text import to_text

    print(json.dumps(report, indent=1) if options.json else to_text(report))
    return 1 if any(row["broken_limits"] for row in report["poses"]) else 0


def _report(options: argparse.Namespace) -> dict[str, Any]:
    from edge_reloc.bundle import extend_bundle, open_bundle
    from edge_reloc.methods import bundle_networks

    from .comparison.network_errors import compare_networks
    from .comparison.poses import compare_poses
    from .comparison.rounded_engine import write_rounded
    from .comparison.sources import bundle_frames, torch_programs
    from .float16.feeds import record_feeds

    where = options.map
    bundle = open_bundle(where)
    networks = bundle_networks(bundle.manifest)
    for network in networks:
        for file in (network.file, network.float16_file):
            if not bundle.has(file):
                raise EngineError(
                    f"{where}: has no '{file}', and parity compares both precisions; "
                    f"run 'edge-reloc export onnx --map {where}'"
                )
    if not networks:
        raise EngineError(f"{where}: holds no network to compare")
    show = _progress()
    frames = bundle_frames(bundle, options)
    images = [frame.image for frame in frames]
    chosen = images[:: max(1, len(images) // FEEDS)][:FEEDS]
    feeds = record_feeds(bundle, chosen, threads=options.threads)
    work = options.work or where.with_name(where.name + ".work")
    programs = torch_programs(bundle, networks, work)
    with tempfile.TemporaryDirectory() as folder:
        rounded = write_rounded(bundle, networks, Path(folder))
        poses = compare_poses(
            bundle, frames, _methods(options, networks), programs, rounded, options.threads, show
        )
        tensors = compare_networks(
            bundle, networks, feeds, programs, rounded, _wants_layers(options), show
        )
    report = {
        "map": bundle.manifest.name,
        "metric": bundle.manifest.world.metric,
        "frames": len(frames),
        "source": str(options.data or options.source or "demo"),
        "reference": "torch float32" if programs else "onnx float32",
        "poses": poses,
        "networks": tensors,
    }
    if options.write:
        with extend_bundle(where) as writer:
            writer.manifest.parity = _summary(report)
    return report


def _methods(options: argparse.Namespace, networks: Sequence[Network]) -> list[str]:
    if options.methods:
        return list(options.methods.split(","))
    from edge_reloc.methods import variants
    from edge_reloc.methods.table import IMAGE_RETRIEVAL

    trained = {network.role for network in networks}
    methods = [variant.shown[-1] for _, variant in variants() if variant.name in trained]
    return methods or [f"{IMAGE_RETRIEVAL.variants[0].shown[-1]}+2"]


def _wants_layers(options: argparse.Namespace) -> Callable[[int], bool]:
    if options.layers is not None:
        return lambda heavy: bool(options.layers)
    return lambda heavy: heavy <= MOST_LAYERS


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """What the manifest keeps: poses, and what to do about them."""
    return {
        "reference": report["reference"],
        "frames": report["frames"],
        "poses": report["poses"],
        "networks": {
            n["network"]: {"outputs": n["outputs"], "proposed_float32": n["proposed_float32"]}
            for n in report["networks"]
        },
    }


def _progress() -> Callable[[str], None]:
    def show(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
