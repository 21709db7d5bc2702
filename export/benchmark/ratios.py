"""Systems compared with one of them, on one scene: differences and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .scoring import Row

SMALL = 0.5  # a ratio below is told as 1/N
RATIOS = (
    "median",
    "time a frame",
    "map",
    "map without networks",
    "peak memory",
    "mapping and training",
)


class Comparison(NamedTuple):
    """A table: names of the columns, and a line for each other system."""

    head: list[str]
    body: list[list[str]]


def compare(rows: Sequence[Row], against: str | None) -> Comparison | None:
    """All others with the system `against`; None where it is not there.

    Shares as differences in points (% of all queries), the rest as ratios: 1.2× or 1/20.
    """
    other = next((row for row in rows if row.system == against), None)
    if other is None:
        return None
    shares = [f"{name}, points" for name in ("localised", *other.within)]
    body = [_line(row, other) for row in rows if row is not other]
    return Comparison(["system", *shares, *RATIOS], body)


def _line(row: Row, other: Row) -> list[str]:
    shares = [(row.localised - other.localised) / other.queries]
    shares += [row.within[name] - share for name, share in other.within.items()]
    return [
        row.system,
        *(f"{100 * share:+.1f}" for share in shares),
        _ratio(row.median, other.median),
        _ratio(row.total_ms, other.total_ms),
        _ratio(row.map_mb, other.map_mb),
        _ratio(_place_mb(row), _place_mb(other)),
        _ratio(row.peak_mib, other.peak_mib),
        _ratio(_made_s(row), _made_s(other)),
    ]


def _place_mb(row: Row) -> float | None:
    """What is of the place alone: networks may serve any number of places."""
    if row.map_mb is None or row.network_mb is None:
        return None
    return row.map_mb - row.network_mb


def _made_s(row: Row) -> float | None:
    if row.mapping_s is None:
        return None
    return row.mapping_s + (row.training_s or 0.0)


def _ratio(value: float | None, of: float | None) -> str:
    """Small ones as 1/N."""
    if value is None or of is None or of <= 0 or value < 0:
        return "-"
    ratio = value / of
    if 0 < ratio < SMALL:
        return f"1/{1 / ratio:.1f}"
    return f"{ratio:.2f}×"
