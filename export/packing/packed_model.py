"""What a map was packed from, in the map's world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.layout import XYZ
from edge_reloc.errors import MappingError

from ..scene.align import transform_model
from ..scene.model import SceneModel, load_model
from ..scene.similarity import similarity_of
from .pack import PACKED_MODEL

SAME_SHARE = 1e-4  # of the map's extent: what float32 leaves after a few alignments


def load_packed(work: Path, bundle: MapBundle) -> SceneModel:
    """The model that a bundle was packed from, moved as the bundle was since.

    The work folder's own stays as it was mapped, so that several bundles can share it. Raises
    MappingError where the two do not belong together.
    """
    model = load_model(work / PACKED_MODEL)
    alignment, world = bundle.manifest.alignment, bundle.manifest.world
    if alignment is not None:
        model = transform_model(model, similarity_of(alignment))
        gravity = None if world.gravity is None else np.array(world.gravity)
        model = replace(
            model, metric=world.metric, gravity=gravity, georeference=world.georeference
        )
    xyz = bundle.array(XYZ)
    same = model.xyz.shape == xyz.shape
    if same and alignment is None:
        same = np.array_equal(model.xyz.astype(np.float32), xyz)
    elif same:
        extent = float(np.linalg.norm(np.ptp(xyz, axis=0)))
        same = bool(np.abs(model.xyz - xyz).max() <= SAME_SHARE * extent)
    if not same:
        raise MappingError(
            f"{work}: of another map: its {len(model.xyz)} points are not the {len(xyz)} of the "
            f"bundle; name this map's own work folder with --work, or map again (also after "
            f"pruning)"
        )
    return model
