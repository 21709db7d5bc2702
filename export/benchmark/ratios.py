"""Systems compared with one of them, on one scene: differences and ratios."""

from __future__ import annotations

from collections.abc import Sequence

from .scoring import Row

SMALL = 0.5  # a ratio below is told as 1/N
HEAD = (
    "system",
    "localised, points",
    "median",
    "time a frame",
    "map",
    "map without networks",
    "peak memory",
    "mapping and training",
)


def compare(rows: Sequence[Row], against: str | None) -> list[list[str]]:
    """A line for each other system: 1.0x as much, or 1/20 of it; nothing without `against`.

    localised: difference in % of all queries.
    """
    other = next((row for row in rows if row.system == against), None)
    if other is None:
        return []
    return [_line(row, other) for row in rows if row is not other]


def _line(row: Row, other: Row) -> list[str]:
    points = 100 * (row.localised - other.localised) / other.queries
    return [
        row.system,
        f"{points:+.1f}",
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
    """Small ones as 1/N, which is how targets are written."""
    if value is None or of is None or of <= 0 or value < 0:
        return "-"
    ratio = value / of
    if 0 < ratio < SMALL:
        return f"1/{1 / ratio:.1f}"
    return f"{ratio:.2f}×"
