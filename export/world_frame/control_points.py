"""Surveyed places, and where photos show them.

`gcp_list.txt` of OpenDroneMap holds both: a header that names the coordinate system, then
`x y z pixel_x pixel_y photo [name]` a line. Else a csv of places, `name,x,y,z` in metres or
`name,lat,lon,alt`, and one of marks, `name,photo,x,y` in pixels.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.files import read_small
from edge_reloc.sources.listing import LIST_BYTES

from ..photos.positions import (
    LARGEST,
    GpsPosition,
    PositionsError,
    local_positions,
    read_gps,
    read_number,
    read_positions,
    read_rows,
)
from .utm import geodetic_from_utm

LOCAL = "LOCAL"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A pixel of a photo that shows a place."""

    name: str
    photo: str
    xy_px: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class KnownPlaces:
    """Places (3,) in metres, x east, y north, z up around an origin; None: local axes."""

    xyz: dict[str, F64]
    origin: dict[str, float] | None


def read_places(path: Path) -> KnownPlaces:
    """Of a csv with name,x,y,z or name,lat,lon,alt. Raises PositionsError."""
    columns = {name for _, row in read_rows(path, {"name"}) for name in row}
    if {"latitude_deg", "longitude_deg"} <= columns:
        return _around_their_middle(read_gps(path))
    return KnownPlaces(xyz=read_positions(path), origin=None)


def read_marks(path: Path) -> list[Mark]:
    """Of a csv with name,photo,x,y. Raises PositionsError."""
    marks = []
    for where, row in read_rows(path, {"name", "photo", "x", "y"}):
        x, y = (read_number(row[axis], where, axis) for axis in "xy")
        if x is not None and y is not None:
            marks.append(Mark(name=row["name"], photo=row["photo"], xy_px=(x, y)))
    return marks


def read_gcp_list(path: Path) -> tuple[KnownPlaces, list[Mark]]:
    """Places and marks of a `gcp_list.txt`. Raises PositionsError."""
    try:
        lines = read_small(path, LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PositionsError(f"{path}: cannot read this list of control points ({error})") from None
    numbered = [(n, text.split("#")[0].strip()) for n, text in enumerate(lines, start=1)]
    rows = [(n, text) for n, text in numbered if text]
    if not rows:
        raise PositionsError(f"{path}: empty, expected a coordinate system and control points")
    system = _System(rows[0][1], f"{path}:{rows[0][0]}")
    places: dict[str, tuple[float, float, float]] = {}
    names: dict[tuple[float, float, float], str] = {}
    marks = []
    for number, text in rows[1:]:
        place, mark = _control_point(text, f"{path}:{number}")
        name = names.setdefault(place, mark.name or f"gcp{len(names) + 1}")
        if places.setdefault(name, place) != place:
            raise PositionsError(
                f"{path}:{number}: '{name}' lies at {place}, and above at {places[name]}; expected "
                f"one place a name"
            )
        marks.append(Mark(name=name, photo=mark.photo, xy_px=mark.xy_px))
    return system.places(places), marks


def _control_point(text: str, where: str) -> tuple[tuple[float, float, float], Mark]:
    cells = text.split()
    if len(cells) < 6:
        raise PositionsError(
            f"{where}: {len(cells)} columns, expected x y z pixel_x pixel_y photo [name]"
        )
    names = ("x", "y", "z", "pixel_x", "pixel_y")
    x, y, z, px, py = (_needed(cell, where, name) for cell, name in zip(cells, names, strict=False))
    name = cells[6] if len(cells) > 6 else ""
    return (x, y, z), Mark(name=name, photo=cells[5], xy_px=(px, py))


def _needed(text: str, where: str, column: str) -> float:
    value = read_number(text, where, column)
    assert value is not None  # cells of a split line are not empty
    return value


class _System:
    """The coordinate system that a header names. Raises PositionsError for one not known."""

    def __init__(self, header: str, where: str) -> None:
        self.zone: tuple[int, bool] | None = None
        self.where = where
        text = header.upper()
        self.local = text == LOCAL
        epsg = re.fullmatch(r"EPSG:\s*([0-9]{1,6})", text)
        utm = re.search(r"UTM\s*(?:ZONE)?\s*(\d{1,2})\s*([NS])", text)
        proj = re.search(r"\+PROJ=UTM.*\+ZONE=(\d{1,2})(.*\+SOUTH)?", text)
        if (epsg and 32600 < int(epsg[1]) <= 32660) or (epsg and 32700 < int(epsg[1]) <= 32760):
            self.zone = int(epsg[1]) % 100, int(epsg[1]) > 32700
        elif utm:
            self.zone = int(utm[1]), utm[2] == "S"
        elif proj:
            self.zone = int(proj[1]), proj[2] is not None
        known = self.local or self.zone or text in ("EPSG:4326", "WGS84", "+PROJ=LONGLAT")
        if not (known or "+PROJ=LONGLAT" in text) or not 1 <= (self.zone or (1,))[0] <= 60:
            raise PositionsError(
                f"{where}: coordinate system '{header}', expected EPSG:4326 (x longitude, y "
                f"latitude), UTM such as 'WGS84 UTM 33N' or EPSG:32633, or {LOCAL} for metres of "
                f"your own with z up"
            )

    def places(self, given: dict[str, tuple[float, float, float]]) -> KnownPlaces:
        """In metres around their middle."""
        if self.local:
            return KnownPlaces(xyz={n: np.array(p) for n, p in given.items()}, origin=None)
        gps = {}
        for name, (x, y, z) in given.items():
            latitude, longitude = y, x
            if self.zone is not None:
                if not (1e5 <= x < 1e6 and 0 <= y <= 1e7):
                    raise PositionsError(
                        f"{self.where}: '{name}' at {x:.1f} {y:.1f} is no place in UTM, expected "
                        f"an easting of 100000 to 1000000 and then a northing"
                    )
                latitude, longitude = geodetic_from_utm(x, y, self.zone[0], south=self.zone[1])
            if abs(latitude) > 90 or abs(longitude) > 360 or abs(z) > LARGEST:
                raise PositionsError(
                    f"{self.where}: '{name}' at {x} {y} is no longitude and latitude"
                )
            gps[name] = GpsPosition(latitude_deg=latitude, longitude_deg=longitude, altitude_m=z)
        return _around_their_middle(gps)


def _around_their_middle(gps: dict[str, GpsPosition]) -> KnownPlaces:
    if not gps:
        return KnownPlaces(xyz={}, origin=None)
    xyz, origin = local_positions(gps)
    return KnownPlaces(xyz=xyz, origin=origin)
