"""Keep of a map what one method reads: no descriptors where networks hold the map."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.localizer import Localizer
from edge_reloc.settings import Settings


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    parser = argparse.ArgumentParser(prog="edge-reloc export single", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle; it stays as it is")
    parser.add_argument("--output", type=Path, required=True, help="the new bundle")
    parser.add_argument("--method", help="which (default: the map's)")
    parser.add_argument(
        "--head",
        choices=["generative", "cells"],
        help="of method visible_structure (default: the map's)",
    )
    options = parser.parse_args(argv)
    bundle = open_bundle(options.map)
    method = options.method or bundle.manifest.method
    localizers = _opened(bundle, Settings(method=method, head=options.head))
    kept = _read_by(bundle, localizers)
    with extend_bundle(options.map, options.output) as writer:
        manifest = writer.manifest
        for name in sorted(set(manifest.files) - kept):
            writer.remove(name)
        tuned = manifest.methods.get(method)
        manifest.method, manifest.methods = method, {} if tuned is None else {method: tuned}
        if tuned and "heads" in tuned:
            tuned["head"] = options.head or tuned["head"]
            tuned["heads"] = {tuned["head"]: tuned["heads"][tuned["head"]]}
        manifest.networks = {n: v for n, v in manifest.networks.items() if n in kept}
        networks = tuple(n for n in manifest.features.networks if n.file in kept)
        manifest.features = replace(manifest.features, networks=networks)
        if all(opened.method.embedder is None for opened in localizers):
            manifest.embedding = None
        manifest.parity = {}  # it spoke of other methods too
    sizes = bundle.nbytes() / 1e6, open_bundle(options.output).nbytes() / 1e6
    print(f"{options.output}: {method} alone, {sizes[0]:.2f} -> {sizes[1]:.2f} MB")
    return OK


def _opened(bundle: MapBundle, settings: Settings) -> list[Localizer]:
    """The method put together for every camera of the map."""
    cameras = bundle.manifest.cameras
    if not cameras:
        raise CameraError(
            f"{bundle.directory}: names no mapping camera, so its methods cannot be opened; "
            f"map the place again"
        )
    where = f"{bundle.directory}: cameras"
    return [
        Localizer.planned(bundle, Camera.from_dict(values, f"{where}['{name}']"), settings)
        for name, values in cameras.items()
    ]


def _read_by(bundle: MapBundle, localizers: list[Localizer]) -> set[str]:
    """Files that any of them reads, and float16 networks beside these."""
    files: set[str] = set().union(*(opened.bundle.used for opened in localizers))
    for network, entry in bundle.manifest.networks.items():
        files |= {entry.float16} if network in files and entry.float16 else set()
    return files


if __name__ == "__main__":
    sys.exit(main())
