"""Bring a map bundle up to date by a delta of 'edge-reloc update', on the device too."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command_line.program import OK, program


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write the updated bundle, the very bytes that were made; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="edge-reloc apply", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle that it was made for")
    parser.add_argument("--delta", type=Path, required=True, help="file of the delta")
    parser.add_argument("--output", type=Path, help="bundle to write (default: replace the map)")
    parser.add_argument(
        "--require-signed",
        type=Path,
        metavar="KEY.pub",
        help="refuse a delta, and a map that comes of it, that this key's holder did not sign",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    options = parser.parse_args(argv)
    from ..bundle.reader import open_bundle
    from .applying import apply_delta

    output = options.output or options.map
    apply_delta(options.map, options.delta, output, require_signed=options.require_signed)
    bundle = open_bundle(output)
    content = (output / "manifest.json").read_bytes()
    summary = {
        "map": str(output),
        "points": bundle.manifest.statistics.get("points"),
        "manifest_sha256": hashlib.sha256(content).hexdigest(),
        "delta_bytes": options.delta.stat().st_size,
        "map_bytes": bundle.nbytes(),
    }
    told = (
        f"{output}: up to date, {summary['points']} points; the delta has "
        f"{summary['delta_bytes'] / 1e6:.2f} MB, the map {summary['map_bytes'] / 1e6:.2f} MB"
    )
    print(json.dumps(summary, indent=1) if options.json else told)
    return OK


if __name__ == "__main__":
    sys.exit(main())
