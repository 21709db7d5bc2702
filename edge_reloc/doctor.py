"""What this machine has and lacks, with the cure: `python -m edge_reloc.doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .command_line.arguments import above_zero
from .command_line.program import KNOWN_ERROR, OK, program

if TYPE_CHECKING:
    from .diagnosis.check import Check


@program
def main(argv: Sequence[str] | None = None) -> int:
    """0 when nothing that localisation needs is missing, else 1."""
    parser = argparse.ArgumentParser(prog="edge-reloc doctor", description=__doc__)
    parser.add_argument("--map", type=Path, help="also look at this map and its engines")
    parser.add_argument(
        "--autopilot",
        choices=("px4", "ardupilot"),
        help="instead, the parameters that it needs to fly on our poses, and why",
    )
    parser.add_argument(
        "--link",
        metavar="ADDRESS",
        help="read them from the autopilot: udpin:0.0.0.0:14550, /dev/ttyACM0,57600",
    )
    parser.add_argument(
        "--age-ms",
        type=above_zero(60_000),
        metavar="MS",
        help="of poses that are sent (age_ms of a line)",
    )
    parser.add_argument("--json", action="store_true", help="every line as JSON")
    options = parser.parse_args(argv)
    if options.autopilot is None and (options.link or options.age_ms is not None):
        parser.error("--link and --age-ms go with --autopilot")
    from .diagnosis.check import State

    if options.autopilot is None:
        checks = examine(Path("/"), options.map)
    else:
        checks = examine_autopilot(options.autopilot, options.link, options.age_ms, options.map)
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        print(to_text(checks))
    return KNOWN_ERROR if any(check.state is State.MISSING for check in checks) else OK


def examine(root: Path, map_dir: Path | None = None) -> list[Check]:
    """Every check of the machine whose files lie under `root`."""
    from .diagnosis.cameras import check_cameras
    from .diagnosis.clocks import check_power
    from .diagnosis.graphics import check_gpu
    from .diagnosis.headroom import check_memory
    from .diagnosis.packages import check_packages, find_package, opencv_build
    from .diagnosis.storage import check_map
    from .diagnosis.system import check_system, find_jetson

    jetson = find_jetson(root)
    checks = check_system(root)
    checks += check_gpu(root, jetson)
    checks += check_packages(root, jetson, find_package, opencv_build)
    checks += check_cameras(root)
    checks += check_power(root, jetson)
    checks += check_memory(root, jetson)
    if map_dir is not None:
        checks += check_map(map_dir)
    return checks


def examine_autopilot(
    autopilot: str, link: str | None, age_ms: float | None, map_dir: Path | None
) -> list[Check]:
    """Parameters of an autopilot: what they have to be, and what they are over a link."""
    from .diagnosis.autopilot import check_autopilot, needs_of
    from .tiles.tiled_bundle import open_map

    integrity = None if map_dir is None else open_map(map_dir).manifest.integrity
    judged = map_dir is None or (integrity is not None and integrity.plausibility is not None)
    needs = needs_of(autopilot, age_ms, judged=judged)
    if link is None:
        return check_autopilot(needs, None)
    from .diagnosis.autopilot_link import read_parameters

    return check_autopilot(needs, read_parameters(link, [need.name for need in needs], autopilot))


def to_text(checks: Sequence[Check]) -> str:
    """One line a check, its cure under it."""
    lines = []
    width = max([14, *(len(check.subject) for check in checks)])
    for check in checks:
        lines.append(f"{check.state.value:<8} {check.subject:<{width}} {check.found}")
        if check.cure:
            lines.append(f"{'':<8} {'':<{width}} → {check.cure}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
