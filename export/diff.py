"""What two maps of a place differ in: points and photos that came, went or moved."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_reloc.command_line.program import OK, program

if TYPE_CHECKING:
    from .living.difference import Difference

SHOWN = 8  # cells of the table, those that changed most


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, and write picture and delta where they are asked for; 0 when done."""
    parser = argparse.ArgumentParser(prog="edge-reloc diff", description=__doc__)
    parser.add_argument("first", type=Path, help="map bundle, of before")
    parser.add_argument("second", type=Path, help="map bundle in the same world, of after")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="from above and the side, PNG")
    parser.add_argument(
        "--delta", type=Path, metavar="FILE", help="what makes the second of the first"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    options = parser.parse_args(argv)
    from edge_reloc.bundle import open_bundle
    from edge_reloc.delta.delta_writer import make_delta
    from edge_reloc.files import write_atomic

    from .living.difference import compare_maps

    first, second = open_bundle(options.first), open_bundle(options.second)
    found = compare_maps(first, second)
    unit = "m" if second.manifest.world.metric else "map units"
    if options.picture is not None:
        from .living.difference_picture import draw_difference

        draw_difference(options.picture, found, second.manifest.world.gravity, unit)
    values = found.values()
    if options.delta is not None:
        content = make_delta(first, second)
        write_atomic(options.delta, content)
        values["delta_bytes"] = len(content)
    print(json.dumps(values, indent=1) if options.json else _text(options, found, unit))
    return OK


def _text(options: argparse.Namespace, found: Difference, unit: str) -> str:
    """The table."""
    values = found.values()
    photos = values["photos"]
    lines = [
        f"{options.first} -> {options.second}",
        f"  points {values['points'][0]} -> {values['points'][1]}: {values['kept']} in both, "
        f"{values['retired']} retired, {values['added']} added",
        f"  moved  {values['moved']}, by {values['moved_median']:.3g} {unit} in the median, "
        f"{values['moved_largest']:.3g} at most",
        f"  photos {photos['both']} in both, {photos['only_first']} only in the first, "
        f"{photos['only_second']} only in the second",
    ]
    cells = [c for c in values["cells"] if c["retired"] or c["added"]]
    lines.append(f"  cells  {len(cells)} of {len(values['cells'])} changed; most of all:")
    lines.append("    kept  retired  added  centre")
    cells.sort(key=lambda cell: -(cell["retired"] + cell["added"]))
    for cell in cells[:SHOWN]:
        at = " ".join(f"{x:.2f}" for x in cell["centre"])
        lines.append(f"    {cell['kept']:<5} {cell['retired']:<8} {cell['added']:<6} {at}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
