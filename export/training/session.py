"""What every training of a map begins with, and how its networks come into the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_reloc.arrays import Bool
from edge_reloc.bundle import BundleWriter, open_bundle
from edge_reloc.bundle.points import open_points
from edge_reloc.errors import MappingError

from ..packing.networks import add_network, forget_float16
from ..packing.packed_model import load_packed
from ..progress import open_bar
from ..scene.combine import PhotoStore, open_any_store
from ..scene.model import SceneModel
from .device import training_device

HELD_OUT_BLOCKS = 2
BLOCKS = 12
SAME_PX = 0.01  # of one keypoint, extracted twice from one photo


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


def check_photos(model: SceneModel, store: PhotoStore) -> None:
    """MappingError for a photo that is not the one that was mapped.

    What a photo observes is told by the rows of its keypoints, and where it stood by its
    pose: of another photo of that name both would be learnt wrong.
    """
    with open_bar(len(model.views), "photos", "photo") as bar:
        for view in model.views:
            xy = store.get(view.name).xy_px
            same = not len(view.keypoint) or (
                view.keypoint.max() < len(xy)
                and np.abs(xy[view.keypoint] - view.xy_px).max() <= SAME_PX
            )
            if not same:
                raise MappingError(
                    f"{store.photo(view.name)}: its keypoints are not those that the map was made "
                    f"of, the photo has changed since; put it back, or map again"
                )
            bar.update()


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
