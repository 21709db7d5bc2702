"""Cameras that the kernel shows, and whether this user may read them."""

from __future__ import annotations

import os
from pathlib import Path

from .check import Check, note, ok
from .kernel_files import read_text


def check_cameras(root: Path) -> list[Check]:
    """One line a camera, or a note that there is none."""
    checks = []
    for device in sorted((root / "dev").glob("video*"), key=lambda p: (len(p.name), p.name)):
        name = read_text(root, f"sys/class/video4linux/{device.name}/name") or "unnamed"
        if os.access(device, os.R_OK | os.W_OK):
            checks.append(ok("camera", f"/dev/{device.name}: {name}"))
        else:
            checks.append(
                note(
                    "camera",
                    f"/dev/{device.name}: {name}, not readable by this user",
                    "sudo usermod -aG video $USER, then log in again",
                )
            )
    return checks or [note("camera", "none (/dev/video*); photos, videos and streams still work")]
