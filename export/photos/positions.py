"""Known camera positions: metres or GPS, from a csv file or EXIF."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import MappingError, missing_package
from edge_reloc.files import read_small
from edge_reloc.sources.listing import LIST_BYTES

from .exif import PhotoFacts

F64 = NDArray[np.float64]
log = logging.getLogger(__name__)

LARGEST = 1e9  # metres or degrees; squares of more overflow
_NAMES = {
    "lat": "latitude_deg",
    "latitude": "latitude_deg",
    "lon": "longitude_deg",
    "longitude": "longitude_deg",
    "alt": "altitude_m",
    "altitude": "altitude_m",
}


class PositionsError(MappingError):
    """Known positions cannot be read, or the photos contradict them.

    No other way of reconstructing the photos would mend that.
    """


@dataclass(frozen=True, kw_only=True)
class GpsPosition:
    """WGS 84; altitude None when the receiver gave none."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None = None
    #: False: north or south, east or west is not told, and the sign means nothing
    signed: bool = True


def read_positions(path: Path, key: str = "name") -> dict[str, F64]:
    """Positions (3,) in metres of a csv with name, x, y, z; key: another column of names.

    Rows with empty cells have no position and are left out. Raises PositionsError.
    """
    out: dict[str, F64] = {}
    for where, row in read_rows(path, {key, "x", "y", "z"}):
        values = [read_number(row[axis], where, axis) for axis in "xyz"]
        if None not in values:
            check_new(row[key], out, where)
            out[row[key]] = np.array(values, np.float64)
    return out


def read_gps(path: Path, key: str = "name") -> dict[str, GpsPosition]:
    """Positions of a csv with name, lat, lon and, if known, alt; key: another column of names.

    Rows with empty cells have no position and are left out, and so are those
    at latitude 0, longitude 0: what receivers write before their first fix. Raises
    PositionsError.
    """
    out: dict[str, GpsPosition] = {}
    for where, row in read_rows(path, {key, "latitude_deg", "longitude_deg"}):
        latitude = read_number(row["latitude_deg"], where, "lat")
        longitude = read_number(row["longitude_deg"], where, "lon")
        if latitude is None or longitude is None:
            continue
        if latitude == 0 and longitude == 0:
            log.warning("%s: latitude 0, longitude 0 is no fix: left out", where)
            continue
        if abs(latitude) > 90 or abs(longitude) > 360:
            raise PositionsError(f"{where}: lat {latitude}, lon {longitude} is no place on Earth")
        check_new(row[key], out, where)
        out[row[key]] = GpsPosition(
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_m=read_number(row.get("altitude_m") or "", where, "alt"),
        )
    return out


def check_new(name: str, known: Container[str], where: str) -> None:
    """PositionsError for a second position of one name: nobody knows which of both is meant."""
    if name in known:
        raise PositionsError(f"{where}: a second position of '{name}'; remove one of them")


def gps_from_exif(facts: Iterable[PhotoFacts]) -> dict[str, GpsPosition]:
    """Positions of the photos whose headers have them.

    Where a photo does not tell its hemisphere it is that of the photos that
    do. Where they differ it has no position; where no photo tells it, all are
    marked as not signed.
    """
    known = [f for f in facts if f.latitude_deg is not None and f.longitude_deg is not None]
    north = _hemisphere((f.latitude_deg, f.latitude_signed) for f in known)
    east = _hemisphere((f.longitude_deg, f.longitude_signed) for f in known)
    out = {}
    for fact in known:
        latitude, longitude = fact.latitude_deg, fact.longitude_deg
        assert latitude is not None and longitude is not None
        if not fact.latitude_signed:
            latitude *= north or 1.0
        if not fact.longitude_signed:
            longitude *= east or 1.0
        if latitude != latitude or longitude != longitude:
            log.warning("%s: its GPS does not tell the hemisphere: left out", fact.name)
            continue
        out[fact.name] = GpsPosition(
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_m=fact.altitude_m,
            signed=(fact.latitude_signed or north is not None)
            and (fact.longitude_signed or east is not None),
        )
    return out


def _hemisphere(angles: Iterable[tuple[float | None, bool]]) -> float | None:
    """Sign that all angles with a known sign have: NaN where they differ.

    None where no angle has one.
    """
    signs = {float(np.sign(angle)) for angle, signed in angles if signed and angle}
    if not signs:
        return None
    return signs.pop() if len(signs) == 1 else float("nan")


def local_positions(
    gps: Mapping[str, GpsPosition],
) -> tuple[dict[str, F64], dict[str, float]]:
    """East, north, up (3,) metres around the median place, and that place.

    Where altitudes are missing all are taken as the median of the others.
    """
    try:
        from pymap3d import geodetic2enu
    except ImportError:
        raise missing_package("pymap3d", "mapping with GPS", "export") from None
    heights = [p.altitude_m for p in gps.values() if p.altitude_m is not None]
    height = float(np.median(heights)) if heights else 0.0
    origin = {
        "latitude_deg": float(np.median([p.latitude_deg for p in gps.values()])),
        "longitude_deg": float(np.median([p.longitude_deg for p in gps.values()])),
        "altitude_m": height,
    }
    out = {}
    for name, p in gps.items():
        altitude = height if p.altitude_m is None else p.altitude_m
        enu = geodetic2enu(p.latitude_deg, p.longitude_deg, altitude, *origin.values())
        out[name] = np.array(enu)
    return out, origin


def read_rows(path: Path, needed: set[str]) -> list[tuple[str, dict[str, str]]]:
    """Rows of a csv by column, each with its file and line; PositionsError for what is none."""
    try:
        with io.StringIO(read_small(path, LIST_BYTES).decode("utf-8-sig"), newline="") as stream:
            reader = csv.reader(stream)
            header = [_NAMES.get(c.strip().lower(), c.strip().lower()) for c in next(reader, [])]
            if missing := needed - set(header):
                raise PositionsError(
                    f"{path}:1: no column {sorted(missing)}; found {header}, "
                    f"expected {sorted(needed)}"
                )
            rows = []
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise PositionsError(
                        f"{path}:{reader.line_num}: {len(cells)} cells, expected {len(header)}"
                    )
                rows.append((f"{path}:{reader.line_num}", dict(zip(header, cells, strict=True))))
            return rows
    except OSError as error:
        reason = f"cannot read these positions ({error.strerror})"
        raise PositionsError(f"{path}: {reason}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise PositionsError(f"{path}: cannot read these positions ({error})") from error


def read_number(text: str, where: str, column: str) -> float | None:
    """Of a cell; None for an empty one. Raises PositionsError."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= LARGEST:
        raise PositionsError(f"{where}: {column} is '{text}', expected a number up to {LARGEST:g}")
    return value
