"""Keep of a map what one method reads: no descriptors where networks hold the map."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.bundle.mapping_cameras import mapping_cameras
from edge_reloc.command_line.arguments import add_settings_arguments, settings_of
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import CameraError
from edge_reloc.methods import Settings, find_method
from edge_reloc.methods.assemble import Line, plan_line


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the smaller bundle; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="edge-reloc export single", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle; it stays as it is")
    parser.add_argument("--output", type=Path, required=True, help="the new bundle")
    add_settings_arguments(parser)
    options = parser.parse_args(argv)
    bundle = open_bundle(options.map)
    settings = settings_of(options)
    method = find_method(settings.method or bundle.manifest.method)
    lines = _planned(bundle, replace(settings, method=method.name))
    kept = _read_by(bundle, lines)
    with extend_bundle(options.map, options.output) as writer:
        manifest = writer.manifest
        for name in sorted(set(manifest.files) - kept):
            writer.remove(name)
        method.keep_only(manifest, settings)
        manifest.networks = {n: v for n, v in manifest.networks.items() if n in kept}
        networks = tuple(n for n in manifest.features.networks if n.file in kept)
        manifest.features = replace(manifest.features, networks=networks)
        if all(line.embedder is None for line in lines):
            manifest.embedding = None
        manifest.parity = {}  # it spoke of other methods too
    sizes = bundle.nbytes() / 1e6, open_bundle(options.output).nbytes() / 1e6
    print(f"{options.output}: {method.name} alone, {sizes[0]:.2f} -> {sizes[1]:.2f} MB")
    return OK


def _planned(bundle: MapBundle, settings: Settings) -> list[Line]:
    """The method put together for every camera of the map."""
    cameras = mapping_cameras(bundle)
    if not cameras:
        raise CameraError(
            f"{bundle.directory}: names no mapping camera, so its methods cannot be opened; "
            f"map the place again"
        )
    return [plan_line(bundle, camera, settings) for camera in cameras.values()]


def _read_by(bundle: MapBundle, lines: list[Line]) -> set[str]:
    """Files that any of them reads, and float16 networks beside these."""
    files: set[str] = set().union(*(line.bundle.used for line in lines))
    for network, entry in bundle.manifest.networks.items():
        files |= {entry.float16} if network in files and entry.float16 else set()
    return files


if __name__ == "__main__":
    sys.exit(main())
