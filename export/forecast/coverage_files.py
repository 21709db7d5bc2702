"""Predictions of a grid as JSON and GeoJSON (RFC 7946)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_reloc.bundle.manifest import World
from edge_reloc.geometry.geodesy import geodetic_from_enu

from .heading_grid import Grid
from .predict import Expected, Prediction

LOCAL = (
    "no georeference in this map: coordinates are x, y, z of its own level frame in {unit}, not "
    "longitude and latitude; 'edge-reloc align' gives it a place on Earth"
)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What was predicted on a grid: G places of H headings."""

    grid: Grid
    predictions: Sequence[Sequence[Prediction]]
    world: World

    @property
    def unit(self) -> str:
        """Of lengths."""
        return "metres" if self.world.metric else "map units"

    def share(self, status: Expected) -> float:
        """Of all places and headings."""
        every = [p.status for row in self.predictions for p in row]
        return Counter(every)[status] / len(every)

    def summary(self) -> dict[str, Any]:
        """Shares, and what is usual where it works."""
        works = [p for row in self.predictions for p in row if p.status is Expected.WORKS]
        sigma, deg = [p.position for p in works], [p.rotation_deg for p in works]
        return {
            "places": len(self.grid.place),
            "headings": len(self.grid.heading_rad),
            "step": self.grid.step,
            "unit": self.unit,
            **{status.value: round(self.share(status), 4) for status in Expected},
            "median_sigma": float(np.median(sigma)) if works else None,
            "median_sigma_deg": float(np.median(deg)) if works else None,
        }


def as_json(coverage: Coverage) -> dict[str, Any]:
    """Everything, in the map's own frame."""
    turn = coverage.grid.level.level_from_world
    return {
        "summary": coverage.summary(),
        "places": [
            {"xyz_world": (place @ turn).tolist(), **_place(coverage, index)}
            for index, place in enumerate(coverage.grid.place)
        ],
    }


def as_geojson(coverage: Coverage) -> dict[str, Any]:
    """One point a place: WGS 84 where the map has a place on Earth, else with a note."""
    georeference = coverage.world.georeference
    turn = coverage.grid.level.level_from_world
    features = []
    for index, place in enumerate(coverage.grid.place):
        at = place.tolist()
        if georeference is not None:
            latitude, longitude, altitude = geodetic_from_enu(place @ turn, georeference)
            at = [longitude, latitude, altitude]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": at},
                "properties": _place(coverage, index),
            }
        )
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if georeference is None:
        collection["note"] = LOCAL.format(unit=coverage.unit)
    return collection


def _place(coverage: Coverage, index: int) -> dict[str, Any]:
    """Properties of one place."""
    row, metric = coverage.predictions[index], coverage.world.metric
    headings = []
    for heading, found in zip(coverage.grid.heading_rad, row, strict=True):
        length = found.position * (100.0 if metric else 1.0)
        headings.append(
            {
                "heading_deg": round(float(np.degrees(heading)), 3),
                "status": found.status.value,
                "matches": round(found.matches, 1),
                "sigma_cm" if metric else "sigma_map_units": _number(length),
                "sigma_deg": _number(found.rotation_deg),
            }
        )
    works = sum(found.status is Expected.WORKS for found in row) / len(row)
    return {
        "pitch_deg": round(float(np.degrees(coverage.grid.pitch_rad[index])), 2),
        "works": round(works, 3),
        "headings": headings,
    }


def _number(value: float) -> float | None:
    """JSON has no infinity."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
