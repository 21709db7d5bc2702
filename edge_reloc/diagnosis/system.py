"""Operating system, processor, Python, board and JetPack."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .check import Check, note, ok
from .kernel_files import read_text

OLDEST_PYTHON = (3, 10)
# Major release of Jetson Linux (L4T) to JetPack.
JETPACKS = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}
OLDEST_L4T = 36  # JetPack 6: the first with TensorRT 10 and Python 3.10


@dataclass(frozen=True, kw_only=True)
class Jetson:
    """The system of a Jetson."""

    #: Release of Jetson Linux, such as "36.4.3".
    l4t: str
    #: Major release of JetPack, such as "6", or "" for one that is not known.
    jetpack: str


def find_jetson(root: Path) -> Jetson | None:
    """Release of Jetson Linux, or None on another machine."""
    text = read_text(root, "etc/nv_tegra_release")
    match = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text or "")
    if match is None:
        return None
    return Jetson(l4t=f"{match[1]}.{match[2]}", jetpack=JETPACKS.get(int(match[1]), ""))


def check_system(root: Path) -> list[Check]:
    """Four lines; the last two only on a Jetson."""
    release = read_text(root, "etc/os-release") or ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    checks = [
        ok("system", f"{name[1] if name else platform.system()}, {platform.machine()}"),
        _python(),
    ]
    board = read_text(root, "proc/device-tree/model")
    jetson = find_jetson(root)
    if jetson is None:
        if (root / "etc/nv_tegra_release").exists():
            checks.append(
                note("JetPack", "/etc/nv_tegra_release cannot be understood", "flash JetPack again")
            )
        return checks
    if board:
        checks.append(ok("board", board))
    checks.append(_jetpack(jetson))
    return checks


def _python() -> Check:
    version = platform.python_version()
    where = "virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    return ok("Python", f"{version}, {where}")


def _jetpack(jetson: Jetson) -> Check:
    named = f"JetPack {jetson.jetpack}" if jetson.jetpack else "an unknown JetPack"
    found = f"{named}, Jetson Linux {jetson.l4t}"
    if int(jetson.l4t.split(".")[0]) < OLDEST_L4T:
        return note(
            "JetPack", found, "flash JetPack 6 or later: engines need TensorRT 10.3 or later"
        )
    return ok("JetPack", found)
