"""A bundle in words and numbers, JSON-ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..bundle import MapBundle
from ..bundle.layout import CELL_START, VIEW_EMBEDDING, XYZ
from ..errors import CameraError, EdgeRelocError
from ..geometry.camera import Camera
from ..localizer import Localizer
from ..methods.table import METHODS
from ..settings import Settings

HEADS = ("cells", "generative")


def describe(bundle: MapBundle) -> dict[str, Any]:
    """The manifest, and the counts that its files' shapes tell."""
    manifest = bundle.manifest
    cell_edges = _rows(bundle, CELL_START)
    return {
        "name": manifest.name,
        "directory": str(bundle.directory),
        "generator": manifest.generator,
        "world": asdict(manifest.world),
        "features": asdict(manifest.features),
        "embedding": asdict(manifest.embedding) if manifest.embedding else {},
        "method": manifest.method,
        "methods": manifest.methods,
        "points": _rows(bundle, XYZ),
        "cells": max(0, cell_edges - 1),
        "views": _rows(bundle, VIEW_EMBEDDING),
        "cameras": manifest.cameras,
        "statistics": manifest.statistics,
        "files": {name: asdict(entry) for name, entry in manifest.files.items()},
    }


def memory_by_method(bundle: MapBundle) -> dict[str, dict[str, Any]]:
    """Bytes that each method takes when opened, or why it cannot be."""
    if not bundle.manifest.cameras:
        raise CameraError(f"{bundle.directory}: no mapping camera, so memory cannot be planned")
    where = str(bundle.directory)
    camera = Camera.from_dict(next(iter(bundle.manifest.cameras.values())), where)
    memory: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        for head in HEADS if method == "visible_structure" else (None,):
            name = method if head is None else f"{method} {head}"
            memory[name] = _memory(bundle, camera, Settings(method=method, head=head))
    return memory


def _memory(bundle: MapBundle, camera: Camera, settings: Settings) -> dict[str, Any]:
    fresh = MapBundle(bundle.directory, bundle.manifest)  # counts its own files
    try:
        localizer = Localizer.open(fresh, camera, settings)
    except EdgeRelocError as error:
        return {"unavailable": str(error)}
    try:
        return {"arena_bytes": localizer.arena.nbytes, "map_bytes": localizer.map_bytes}
    finally:
        localizer.close()


def _rows(bundle: MapBundle, name: str) -> int:
    entry = bundle.manifest.files.get(name)
    return entry.shape[0] if entry is not None and entry.shape else 0
