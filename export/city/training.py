"""Training for a map of tiles: each tile is a unit of work, then the index is written anew."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np

import edge_reloc
from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.exchange import link_or_copy
from edge_reloc.bundle.layout import TILES_FOLDER
from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.methods.table import SCENE_COORDINATES
from edge_reloc.tiles.index import open_tiles

from ..cluster.executor import Executor
from ..cluster.units import Unit, finish
from ..kept_files import read_object
from ..packing.packed_model import load_packed
from ..tiles.write import write_tiles
from ..training.table import TRAININGS
from ..work_folder import at_work
from .tile import BUNDLE, key_of
from .tiled_map import LISTING

log = logging.getLogger(__name__)

REPORT = "report.json"


def train_city(options: argparse.Namespace, work: Path, workers: Executor) -> list[str]:
    """Train every tile by itself and put the networks into the map; a line for each tile.

    A tile that was trained before, as it is and with these options, is not trained again. Raises
    MappingError where tiles have no work folder, ConfigError for a method that tiles cannot have.
    """
    if options.method == SCENE_COORDINATES.name:
        raise ConfigError(
            f"--method {options.method}: holds the place in a feature network of its own, so that "
            f"tiles could not share a frame's features; train another method for a map of tiles"
        )
    tiled = open_tiles(options.map)
    folders = _work_folders(work)
    units, bundles, cameras = [], {}, {}
    for tile in tiled.tiles:
        if tile.name not in folders:
            raise MappingError(f"{work / LISTING}: nothing of tile '{tile.name}'; map again")
        source, own = options.map / TILES_FOLDER / tile.name, folders[tile.name]
        asked = {key: str(value) for key, value in vars(options).items() if key not in _NO_MATTER}
        key = key_of(edge_reloc.__version__, tile.manifest_sha256, sorted(asked.items()))
        target = own / f"trained-{key}"
        told = argparse.Namespace(**{**vars(options), "map": target / BUNDLE, "work": own})
        units.append(
            Unit(
                run=train_tile,
                arguments=(told, source, own, target),
                result=target / REPORT,
                gpus=1 if options.device == "cuda" else 0,
            )
        )
        bundles[tile.name] = target / BUNDLE
        views = load_packed(own, open_bundle(source)).views
        cameras[tile.name] = np.array([camera_centre(view.cam_from_world) for view in views])
    finish(workers, units, "training", "tile")
    write_tiles(options.map, bundles, name=tiled.name, cameras=cameras)
    return [_line(name, bundle.parent / REPORT) for name, bundle in bundles.items()]


_NO_MATTER = ("map", "work", "cluster", "device")


def train_tile(options: argparse.Namespace, source: Path, work: Path, target: Path) -> None:
    """A unit of work: train a copy of a tile's bundle, in the tile's work folder."""
    with at_work(work):
        if not options.map.is_dir():
            part = target / "part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(source, part, copy_function=link_or_copy)
            os.rename(part, options.map)
        report = TRAININGS[options.method].train(options, work)
        told = {"summary": report.summary(), "refusal": report.refusal, **report.values()}
        write_atomic(work / report.FILE, json.dumps(report.values(), indent=1) + "\n")
        write_atomic(target / REPORT, json.dumps(told, indent=1) + "\n")


def _work_folders(work: Path) -> dict[str, Path]:
    listing = work / LISTING
    try:
        return {name: work / str(folder) for name, folder in read_object(listing).items()}
    except FileNotFoundError:
        raise MappingError(
            f"{listing}: not there: the map's tiles were not mapped together, so train each map "
            f"before its tiles are combined"
        ) from None


def _line(name: str, report: Path) -> str:
    told = read_object(report)
    if told.get("refusal") is not None:
        log.warning("%s: %s", name, told["refusal"])
    return f"{name}: {told.get('summary')}"
