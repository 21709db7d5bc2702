"""The demo's courtyard in three tiles, by where its photos were taken."""

from __future__ import annotations

from pathlib import Path

from edge_reloc.bundle import open_bundle
from edge_reloc.running.demo import DEMO
from edge_reloc_export.tiles.cut import cut_bundle, photos_within
from edge_reloc_export.tiles.write import write_tiles

FAR = 1e9
#: from west to east, overlapping by half a metre to a metre
PARTS = {"west": (-FAR, -0.6), "middle": (-1.2, 1.2), "east": (0.6, FAR)}


def tiled_yard(folder: Path) -> Path:
    """The map of tiles, beside the bundles that it was made of."""
    whole = open_bundle(DEMO / "map")
    for name, (low, high) in PARTS.items():
        photos = photos_within(whole, (low, -FAR, -FAR), (high, FAR, FAR))
        cut_bundle(DEMO / "map", folder / name, photos)
    write_tiles(folder / "city", {name: folder / name for name in PARTS}, name="yard")
    return folder / "city"
