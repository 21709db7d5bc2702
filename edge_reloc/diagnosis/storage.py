"""A map: does it open, where do its engines go, and are they there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..errors import EdgeRelocError, one_line
from ..inference.engine_key import find_engines
from ..inference.engine_origin import FOREIGN, built_here
from ..tiles.tiled_bundle import TiledBundle, open_map
from .check import Check, missing, note, ok
from .city import city_memory, memory_lines

ENOUGH_MB = 256  # engines of one map, while old ones are still there


def check_map(directory: Path) -> list[Check]:
    """The bundle and its engines folder."""
    try:
        bundle = open_map(directory)
        if isinstance(bundle, TiledBundle):
            return _check_city(bundle)
    except EdgeRelocError as error:
        return [missing("map", str(error), "copy the bundle to this machine again")]
    checks = [
        ok("map", one_line(f"{directory}: {bundle.manifest.name}, {bundle.nbytes() / 1e6:.1f} MB"))
    ]
    checks.append(_cache(directory / ENGINES))
    return checks + _engines(bundle)


def _check_city(bundle: TiledBundle) -> list[Check]:
    """A map of tiles, and what it takes in memory. Raises EdgeRelocError."""
    tiles = len(bundle.tiled.tiles)
    text = f"{bundle.directory}: {bundle.manifest.name}, {tiles} tiles, {bundle.nbytes() / 1e6:.1f}"
    checks = [ok("map", one_line(f"{text} MB"))]
    return checks + [ok("memory planned", line) for line in memory_lines(city_memory(bundle))]


def _cache(folder: Path) -> Check:
    here = folder if folder.is_dir() else folder.parent
    if not os.access(here, os.W_OK | os.X_OK):
        return note(
            "engine cache",
            f"{folder} cannot be written by this user",
            f"sudo chown -R $USER {here}, or --output DIR when engines are built",
        )
    free = shutil.disk_usage(here).free / 1e6
    if free < ENOUGH_MB:
        return note("engine cache", f"{folder}: {free:.0f} MB are free", f"free {ENOUGH_MB} MB")
    return ok("engine cache", f"{folder}, {free / 1e3:.1f} GB free")


def _engines(bundle: MapBundle) -> list[Check]:
    float16 = [n.float16 for n in bundle.manifest.networks.values() if n.float16]
    if not float16:
        return [
            note(
                "engines",
                "the map holds no float16 network to build them of",
                "edge-reloc export onnx --map MAP, on the workstation",
            )
        ]
    lacking, foreign = [], []
    for name in float16:
        try:
            found = find_engines(bundle.directory / ENGINES, name)
            here = [record for record in found if built_here(record)]
        except EdgeRelocError as error:
            return [note("engines", str(error))]
        if not found:
            lacking.append(name)
        elif not here:
            foreign.append(name)
    cure = f"edge-reloc export engine --map {bundle.directory}"
    if lacking:
        return [note("engines", f"none yet of {', '.join(lacking)}", cure)]
    if foreign:
        return [note("engines", f"that of {', '.join(foreign)} {FOREIGN}", cure)]
    return [ok("engines", f"of all {len(float16)} networks")]
