"""What every training of a map begins with, and how its networks come into the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_reloc.arrays import Bool
from edge_reloc.bundle import BundleWriter, open_bundle
from edge_reloc.bundle.points import open_points

from ..packing.networks import add_network, forget_float16
from ..packing.packed_model import load_packed
from ..scene.combine import open_any_store
from ..scene.same_photos import check_photos
from .device import training_device

HELD_OUT_BLOCKS = 2
BLOCKS = 12


class TrainingSession:
    """A map beside the work folder that it was packed from.

    bundle, points, model and store are the map's; held_out (V,) says which photos a
    choice is made on. Raises MappingError when map and work folder do not belong together,
    or a photo is no longer the one that was mapped.
    """

    def __init__(self, bundle_dir: Path, work: Path, device: str = "auto") -> None:
        self.bundle_dir, self.work = bundle_dir, work
        self.device = training_device(device)
        self.bundle = open_bundle(bundle_dir)
        self.points = open_points(self.bundle)
        self.model = load_packed(work, self.bundle)
        self.store = open_any_store(work)
        check_photos(self.model, self.store)
        self.held_out = held_out_views(len(self.model.views))


def replace_network(bundle: BundleWriter, file: str, path: Path) -> None:
    """Put a trained network into a map; one in float16 of an earlier training goes."""
    add_network(bundle, file, path.read_bytes())
    forget_float16(bundle, file)


def held_out_views(views: int) -> Bool:
    """(V,) true for views held out for tuning.

    Whole blocks of consecutive photos: single photos of a sequence have
    near copies beside them and would flatter every choice.
    """
    held_out = np.zeros(views, bool)
    if views < BLOCKS:
        held_out[views // 2] = views > 4
        return held_out
    edges = np.linspace(0, views, BLOCKS + 1).astype(int)
    for block in range(HELD_OUT_BLOCKS):
        index = (2 * block + 1) * BLOCKS // (2 * HELD_OUT_BLOCKS)
        held_out[edges[index] : edges[index + 1]] = True
    return held_out


def blocks_of_views(views: int, blocks: int, length: int) -> Bool:
    """(V,) true for so many blocks of consecutive views, evenly spread."""
    chosen = np.zeros(views, bool)
    middles = (np.arange(blocks) + 0.5) * views / blocks
    for start in (middles - length / 2).astype(int):
        chosen[start : start + length] = True
    return chosen
