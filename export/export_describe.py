"""Add to a map of an older format what a device should know of its networks and cells."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.command_line.program import OK, program


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write what is missing; points and networks stay as they are."""
    parser = argparse.ArgumentParser(prog="edge-reloc export describe", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle")
    parser.add_argument("--output", type=Path, help="write a new bundle here instead")
    parser.add_argument("--work", type=Path, help="work folder of the map (default MAP.work)")
    options = parser.parse_args(argv)
    from edge_reloc.bundle import extend_bundle, layout, open_bundle

    from .packing.networks import describe_networks
    from .packing.observers import add_observers
    from .packing.pack import PACKED_MODEL
    from .packing.packed_model import load_packed

    work = options.work or options.map.with_name(options.map.name + ".work")
    bundle = open_bundle(options.map)
    with extend_bundle(options.map, options.output) as writer:
        files = describe_networks(writer)
        told = f"{len(files)} networks described"
        if bundle.has(layout.CELL_OBSERVERS):
            pass
        elif (work / PACKED_MODEL).exists():
            add_observers(writer, bundle, load_packed(work, bundle))
            told += f", and of {len(bundle.array(layout.CELL_RADIUS))} cells who saw them"
        else:
            told += f"; who saw its cells is unknown without {work / PACKED_MODEL}"
    print(f"{options.output or options.map}: {told}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
