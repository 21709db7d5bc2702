"""The place that ships with the package: a rendered courtyard with exact truth."""

from __future__ import annotations

from pathlib import Path

from ..errors import BundleError

DEMO = Path(__file__).parents[1] / "demo"


def demo_folder() -> Path:
    """Folder with map/, frames/, camera.json and truth/. BundleError when it did not ship."""
    for part in ("map", "frames", "camera.json", "truth"):
        if not (DEMO / part).exists():
            raise BundleError(
                f"{DEMO / part}: missing; this installation came without the demo's files, "
                f"install edge_reloc again"
            )
    return DEMO
