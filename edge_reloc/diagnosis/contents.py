"""A bundle in words and numbers, JSON-ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..bundle import MapBundle
from ..bundle.layout import CELL_START, VIEW_EMBEDDING, XYZ
from ..bundle.mapping_cameras import mapping_cameras
from ..errors import CameraError, EdgeRelocError
from ..geometry.camera import Camera
from ..localizer import Localizer
from ..methods import METHODS, Settings, variants


def describe(bundle: MapBundle) -> dict[str, Any]:
    """The manifest, and the counts that its files' shapes tell. Raises CameraError."""
    manifest = bundle.manifest
    mapping_cameras(bundle)  # refuses what is none
    cell_edges = _rows(bundle, CELL_START)
    return {
        "name": manifest.name,
        "directory": str(bundle.directory),
        "generator": manifest.generator,
        "world": asdict(manifest.world),
        "alignment": asdict(manifest.alignment) if manifest.alignment else None,
        "integrity": asdict(manifest.integrity) if manifest.integrity else None,
        "features": asdict(manifest.features),
        "embedding": asdict(manifest.embedding) if manifest.embedding else {},
        "method": manifest.method,
        "methods": manifest.methods,
        "judged": {
            method.name: judgement.told(manifest.world.metric)
            for method in METHODS.values()
            if (judgement := method.judgement(manifest)) is not None
        },
        "runs": [variant.name for _, variant in variants(manifest)],
        "points": _rows(bundle, XYZ),
        "cells": max(0, cell_edges - 1),
        "views": _rows(bundle, VIEW_EMBEDDING),
        "cameras": manifest.cameras,
        "statistics": manifest.statistics,
        "files": {name: asdict(entry) for name, entry in manifest.files.items()},
    }


def memory_by_method(bundle: MapBundle) -> dict[str, dict[str, Any]]:
    """Bytes that each method takes when opened, or why it cannot be."""
    cameras = mapping_cameras(bundle)
    if not cameras:
        raise CameraError(f"{bundle.directory}: no mapping camera, so memory cannot be planned")
    camera = next(iter(cameras.values()))
    memory: dict[str, dict[str, Any]] = {}
    for method, variant in variants():
        if variant.shown:
            own = "" if variant.name == method.name else f" {variant.name}"
            name = f"{method.name}{own}"
            memory[name] = _memory(bundle, camera, method.settings(variant, Settings()))
    return memory


def _memory(bundle: MapBundle, camera: Camera, settings: Settings) -> dict[str, Any]:
    fresh = MapBundle(bundle.directory, bundle.manifest)  # counts its own files
    try:
        with Localizer.open(fresh, camera, settings) as localizer:
            return {"arena_bytes": localizer.arena_bytes, "map_bytes": localizer.map_bytes}
    except EdgeRelocError as error:
        return {"unavailable": str(error)}


def _rows(bundle: MapBundle, name: str) -> int:
    entry = bundle.manifest.files.get(name)
    return entry.shape[0] if entry is not None and entry.shape else 0
