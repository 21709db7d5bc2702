"""What this machine has and lacks, with the cure: `python -m edge_reloc.doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .command_line.program import KNOWN_ERROR, OK, program

if TYPE_CHECKING:
    from .diagnosis.check import Check


@program
def main(argv: Sequence[str] | None = None) -> int:
    """0 when nothing that localisation needs is missing, else 1."""
    parser = argparse.ArgumentParser(prog="edge-reloc doctor", description=__doc__)
    parser.add_argument("--map", type=Path, help="also look at this map and its engines")
    parser.add_argument("--json", action="store_true", help="every line as JSON")
    options = parser.parse_args(argv)
    from .diagnosis.check import State

    checks = examine(Path("/"), options.map)
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


def to_text(checks: Sequence[Check]) -> str:
    """One line a check, its cure under it."""
    lines = []
    for check in checks:
        lines.append(f"{check.state.value:<8} {check.subject:<14} {check.found}")
        if check.cure:
            lines.append(f"{'':<8} {'':<14} → {check.cure}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
