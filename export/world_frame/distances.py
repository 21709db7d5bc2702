"""Measured distances between photos, or between places that are marked in photos."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..photos.positions import PositionsError, read_number, read_rows
from .fit import Length
from .marks import Place


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
    distances: list[Distance], places: Mapping[str, Place], source: str
) -> list[Length]:
    """Each in the map and in metres, named `first to second`. Raises PositionsError.

    places: of photos and of marks, in the map's world.
    """
    lengths = []
    for distance in distances:
        for name in distance[:2]:
            if name not in places:
                raise PositionsError(
                    f"{source}: '{name}' is neither a posed photo nor a place that two photos "
                    f"show; mark it in two photos or more (--marks FILE with name,photo,x,y)"
                )
        name = f"{distance.first} to {distance.second}"
        first, second = places[distance.first], places[distance.second]
        between = first.xyz - second.xyz
        length = float(np.linalg.norm(between))
        if length == 0:
            raise PositionsError(f"{source}: '{name}' has no length in the map")
        along = between / length
        variance = float(along @ (first.covariance + second.covariance) @ along)
        lengths.append(Length(name, length, distance.metres, sqrt(variance) / length))
    return lengths
