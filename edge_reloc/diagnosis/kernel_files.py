"""Small files in which a machine tells of itself, read where its file system lies.

root is "/" for this machine. Paths are joined as texts, not by pathlib, which interns
the parts of every path that it makes: a profile reads these again and again.
"""

from __future__ import annotations

import glob
import os
from pathlib import Path


def read_text(root: Path, path: str) -> str | None:
    """The file without its white space or final zero byte; None when it cannot be read."""
    try:
        with open(os.path.join(root, path), "rb") as stream:
            return stream.read().decode(errors="replace").strip("\0 \n\t")
    except OSError:
        return None


def read_number(root: Path, path: str) -> int | None:
    """The same as a whole number; None when it is none."""
    text = read_text(root, path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def find(root: Path, pattern: str) -> list[str]:
    """Paths below the root that match, sorted."""
    return sorted(glob.glob(pattern, root_dir=root))


def thermal_zones(root: Path) -> list[str]:
    """Folders of all temperatures that the kernel knows."""
    return find(root, "sys/class/thermal/thermal_zone*")


def read_degrees(root: Path, zone: str) -> float | None:
    """Of a thermal zone; None for one that is switched off: it tells nonsense or nothing."""
    value = read_number(root, f"{zone}/temp")
    return value / 1000.0 if value is not None and -40_000 < value < 200_000 else None
