"""Halve the networks of a map: weights stored as float16, computed in float32 as before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import EngineError


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    parser = argparse.ArgumentParser(prog="edge-reloc export compact", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle")
    parser.add_argument("--output", type=Path, help="write a new bundle here instead")
    options = parser.parse_args(argv)
    from edge_reloc.methods import bundle_networks

    from .float16.compact import compact
    from .onnx.model_file import load_graph
    from .packing.networks import add_network

    bundle = open_bundle(options.map)
    files = [n.file for n in bundle_networks(bundle.manifest) if bundle.has(n.file)]
    if not files:
        raise EngineError(f"{options.map}: holds no network in float32")
    before = bundle.nbytes()
    with extend_bundle(options.map, options.output) as writer:
        for file in files:
            model = load_graph(bundle.path(file))
            compact(model)
            add_network(writer, file, model.SerializeToString())
            size = bundle.manifest.files[file].nbytes, writer.manifest.files[file].nbytes
            print(f"{file}: {size[0] / 1e6:.2f} -> {size[1] / 1e6:.2f} MB")
        writer.manifest.parity = {}  # it spoke of other files
    target = options.output or options.map
    after = open_bundle(target).nbytes()
    print(f"{target}: bundle {before / 1e6:.2f} -> {after / 1e6:.2f} MB")
    return OK


if __name__ == "__main__":
    sys.exit(main())
