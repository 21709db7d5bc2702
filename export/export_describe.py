"""Say of a map's networks what a device must know of them: for maps made before 1.2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.command_line.program import OK, program


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the descriptions into the manifest; the networks stay as they are."""
    parser = argparse.ArgumentParser(prog="edge-reloc export describe", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle")
    parser.add_argument("--output", type=Path, help="write a new bundle here instead")
    options = parser.parse_args(argv)
    from edge_reloc.bundle import extend_bundle

    from .packing.networks import describe_networks

    with extend_bundle(options.map, options.output) as writer:
        files = describe_networks(writer)
    print(f"{options.output or options.map}: {len(files)} networks described")
    return OK


if __name__ == "__main__":
    sys.exit(main())
