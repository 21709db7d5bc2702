"""Memory that is free, and swap."""

from __future__ import annotations

import re
from pathlib import Path

from .check import Check, note, ok
from .kernel_files import read_text
from .system import Jetson

ENOUGH_MB = 512  # a map, its networks and the runtime's buffers, with room to build engines


def check_memory(root: Path, jetson: Jetson | None) -> list[Check]:
    """Main memory (on a Jetson shared with the GPU) and swap."""
    values = {
        name: int(number) // 1024
        for name, number in re.findall(
            r"^(\w+):\s+(\d+) kB", read_text(root, "proc/meminfo") or "", re.MULTILINE
        )
    }
    total, free = values.get("MemTotal"), values.get("MemAvailable")
    if total is None or free is None:
        return [note("memory", "unknown: /proc/meminfo cannot be read")]
    shared = ", shared with the GPU" if jetson else ""
    found = f"{free / 1024:.1f} of {total / 1024:.1f} GiB free{shared}"
    checks = []
    if free < ENOUGH_MB:
        cure = "close other programs"
        if jetson:
            cure += "; a desktop takes 1 GB: sudo systemctl set-default multi-user.target"
        checks.append(note("memory", found, cure))
    else:
        checks.append(ok("memory", found))
    used = values.get("SwapTotal", 0) - values.get("SwapFree", 0)
    if used > ENOUGH_MB:
        checks.append(note("swap", f"{used} MiB in use: frames will stutter", "free memory"))
    return checks
