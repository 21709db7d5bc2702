"""Measured distances between photos, or between places that are marked in photos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F64

from ..photos.positions import PositionsError, read_number, read_rows


class Distance(NamedTuple):
    """Between two photos or marked places, by their names."""

    first: str
    second: str
    metres: float


def read_distances(path: Path) -> list[Distance]:
    """Of a csv with from,to,metres. Raises PositionsError."""
    out = []
    for where, row in read_rows(path, {"from", "to", "metres"}):
        metres = read_number(row["metres"], where, "metres")
        if metres is None or metres <= 0:
            raise PositionsError(f"{where}: metres is '{row['metres']}', expected above 0")
        out.append(Distance(row["from"], row["to"], metres))
    if not out:
        raise PositionsError(f"{path}: no distance, expected lines of from,to,metres")
    return out


def measured_lengths(
    distances: list[Distance], places: Mapping[str, F64], source: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Lengths in the map, and metres, by `first to second`. Raises PositionsError.

    places: positions (3,) of photos and of marked places in the map's world.
    """
    lengths, metres = {}, {}
    for distance in distances:
        for name in distance[:2]:
            if name not in places:
                raise PositionsError(
                    f"{source}: '{name}' is neither a posed photo nor a place that two photos "
                    f"show; mark it in two photos or more (--marks FILE with name,photo,x,y)"
                )
        name = f"{distance.first} to {distance.second}"
        between = places[distance.first] - places[distance.second]
        lengths[name], metres[name] = float(np.linalg.norm(between)), distance.metres
        if lengths[name] == 0:
            raise PositionsError(f"{source}: '{name}' has no length in the map")
    return lengths, metres
