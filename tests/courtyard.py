"""The demo's frames as a data set for `edge-reloc evaluate`."""

from __future__ import annotations

from pathlib import Path

from edge_reloc.running.demo import DEMO


def courtyard(folder: Path, every: int = 20) -> Path:
    """Each n-th frame of the demo, with its true pose."""
    place = folder / "courtyard"
    place.mkdir()
    (place / "images").symlink_to(DEMO / "frames")
    (place / "reference").symlink_to(DEMO / "truth")
    names = sorted(path.name for path in (DEMO / "frames").iterdir())
    (place / "queries.txt").write_text("\n".join(names[::every]))
    return place
