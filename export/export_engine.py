"""Build TensorRT engines of a map's networks, on the device or ahead of time."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_reloc.command_line.arguments import add_signature_argument, byte_size, whole
from edge_reloc.command_line.program import program
from edge_reloc.errors import ConfigError, EngineError, missing_package

if TYPE_CHECKING:
    from edge_reloc.inference.engine_key import EngineKey, EngineRecord

    from .engines.build import BuildOptions
    from .engines.flavour import Flavour


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc export engine", description=__doc__)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--map", type=Path, help="map bundle; engines go to its engines/ folder")
    what.add_argument("--demo", action="store_true", help="the map that ships with the package")
    what.add_argument("--onnx", type=Path, action="append", help="a single network; repeatable")
    add("--output", type=Path, help="folder for the engines (default: engines/ of the map)")
    add(
        "--target",
        action="append",
        default=[],
        metavar="SM",
        help="compute capability to build ahead of time for, such as sm86 or sm86,sm120; "
        "needs no GPU (default: the GPU of this machine)",
    )
    add("--flavour", default="auto", help="tensorrt, tensorrt_rtx or auto (default)")
    add(
        "--precision",
        choices=("float16", "float32"),
        default="float16",
        help="of the map's networks (default float16)",
    )
    add("--workspace", metavar="SIZE", help="scratch memory at most, such as 512MiB")
    add("--timing-cache", type=Path, help="file of kernel timings (default: in the cache folder)")
    add(
        "--optimisation-level",
        type=whole(0, 5),
        metavar="N",
        help="0 (fast build) to 5 (fast engine)",
    )
    add("--version-compatible", action="store_true", help="runs with later TensorRT too")
    add("--hardware-compatible", action="store_true", help="runs on later GPUs too, slower")
    add("--strip-weights", action="store_true", help="plan without weights, read from the ONNX")
    add("--force", action="store_true", help="build again what is there already")
    add("--json", action="store_true", help="print what was built as JSON")
    add_signature_argument(parser)
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.output is None and not options.map:
        parser.error("--output is required with --demo and --onnx")
    if options.require_signed is not None and not options.map:
        parser.error("--require-signed goes with --map")
    from edge_reloc.bundle.layout import ENGINES
    from edge_reloc.cuda.probe import find_gpu
    from edge_reloc.files import cache_folder

    from .engines.build import BuildOptions
    from .engines.flavour import open_flavour

    targets = [t.strip().lower() for text in options.target for t in text.split(",") if t.strip()]
    flavour = open_flavour(options.flavour, ahead_of_time=bool(targets))
    folder = options.output or options.map / ENGINES
    build = BuildOptions(
        workspace_bytes=_bytes(options.workspace),
        optimisation_level=options.optimisation_level,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        strip_weights=options.strip_weights,
        timing_cache=options.timing_cache or cache_folder() / "timings.cache",
    )
    gpu = None if targets else find_gpu()
    reports = []
    with tempfile.TemporaryDirectory() as scratch:
        for path, target in product(_networks(options, Path(scratch)), targets or [None]):
            reports.append(
                _one(flavour, path, build, folder, target=target, gpu=gpu, force=options.force)
            )
            if not options.json:
                print(_line(reports[-1]), flush=True)
    if options.json:
        print(json.dumps(reports, indent=1))
    return 0


def _networks(options: argparse.Namespace, scratch: Path) -> list[Path]:
    if options.onnx:
        return list(options.onnx)
    from edge_reloc.bundle import open_bundle
    from edge_reloc.inference.network_check import check_network
    from edge_reloc.methods import bundle_networks
    from edge_reloc.running.demo import DEMO

    where = DEMO / "map" if options.demo else options.map
    if options.demo and options.precision == "float16":
        where = _demo_in_float16(scratch / "demo16")
    bundle = open_bundle(where, require_signed=options.require_signed)
    networks = bundle_networks(bundle.manifest)
    if not networks:
        raise EngineError(f"{bundle.directory}: holds no network to build an engine of")
    paths = []
    for network in networks:
        file = network.float16_file if options.precision == "float16" else network.file
        if not bundle.has(file):
            raise EngineError(
                f"{where}: has no '{file}'; make it on the workstation with "
                f"'edge-reloc export onnx --map {where}'"
            )
        check_network(bundle.path(file), bundle.manifest.files[file].network)
        paths.append(bundle.path(file))
    return paths


def _demo_in_float16(output: Path) -> Path:
    """A copy of the package's map with float16 networks, as `export onnx --demo` makes it."""
    from edge_reloc.running.demo import DEMO

    try:
        from .export_onnx import add_float16

        add_float16(DEMO / "map", output, DEMO / "frames", count=1)
    except ModuleNotFoundError as error:
        purpose = "the demo in float16 (--precision float32 needs no conversion)"
        raise missing_package(error.name or "onnx", purpose, "export") from None
    return output


def _one(
    flavour: Flavour,
    path: Path,
    build: BuildOptions,
    folder: Path,
    *,
    target: str | None,
    gpu: Any,
    force: bool,
) -> dict[str, Any]:
    """Build an engine, or keep the one that is there."""
    from edge_reloc.inference.engine_key import find_engines
    from edge_reloc.inference.engine_origin import FOREIGN, built_here

    from .engines.build import build_engine, engine_key

    key = engine_key(flavour, path, build, target=target, gpu=gpu)
    there = find_engines(folder, path.name) if folder.is_dir() else []
    foreign = [r for r in there if not built_here(r)]
    same = next((r for r in there if r.key == key and r not in foreign), None)
    if same is not None and not force:
        return _report(same, "kept, nothing changed")
    rivals = [r for r in there if _rivals(r.key, key)]
    record = build_engine(flavour, path, key, build, folder, _progress(path.name, key.target))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    reasons = [f"it {FOREIGN}" for r in rivals if r in foreign]
    reasons += [str(r.key.difference(key)) for r in rivals if r.path != record.path]
    for old in rivals:
        if old.path != record.path:
            old.remove()
    return _report(record, f"replaces one: {reasons[0]}" if reasons else "built")


def _rivals(one: EngineKey, other: EngineKey) -> bool:
    """Whether only one of two engines can be of use on a machine."""
    return (one.gpu, one.compute_capability, one.flavour) == (
        other.gpu,
        other.compute_capability,
        other.flavour,
    )


def _report(record: EngineRecord, note: str) -> dict[str, Any]:
    from .engines.build import read_layers

    layers = read_layers(record)
    precision = Counter(
        layer.dtypes[0] for layer in layers if layer.dtypes and layer.kind != "CONSTANT"
    )
    return {
        "network": record.network,
        "engine": str(record.plan),
        "target": record.key.target,
        "flavour": f"{record.key.flavour} {record.key.tensorrt_version}",
        "nbytes": record.plan_nbytes,
        "build_s": json.loads(record.path.read_text(encoding="utf-8"))["build_s"],
        "layers": dict(precision.most_common()),
        "note": note,
    }


def _line(report: dict[str, Any]) -> str:
    layers = ", ".join(f"{count} {dtype}" for dtype, count in report["layers"].items())
    return (
        f"{report['network']} for {report['target']} by {report['flavour']}: "
        f"{report['nbytes'] / 1e6:.2f} MB in {report['build_s']} s, layers {layers}; "
        f"{report['note']}\n  {report['engine']}"
    )


def _progress(network: str, target: str) -> Any:
    def show(phase: str, step: int, steps: int) -> None:
        if sys.stderr.isatty():
            text = f"{network} for {target}: {phase} {step}/{steps}"
            print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)

    return show


def _bytes(text: str | None) -> int | None:
    try:
        return None if text is None else byte_size(text)
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--workspace: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
