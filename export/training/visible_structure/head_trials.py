"""Localise held-out photos with each head, as a device would, in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_reloc.arrays import I64
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.table import VISIBLE_STRUCTURE

from ...integrity.measure import RIGHT_DEG, distance_of, right_within
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel
from .default_head import HeadTrials

MOST_PHOTOS = 60  # evenly spread over the held-out ones: some seconds


def try_heads(
    bundle_dir: Path, model: SceneModel, store: PhotoStore, rows: I64, heads: tuple[str, ...]
) -> Mapping[str, HeadTrials]:
    """Poses of the views `rows` against those that they were mapped with.

    The heads take each photo one after the other, so that whatever else the machine does
    slows both.
    """
    bundle = open_bundle(bundle_dir)
    rows = np.array([n for n in rows if len(model.views[n].point_id)])
    if len(rows) > MOST_PHOTOS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PHOTOS).astype(int)]
    localizers: dict[tuple[Camera, str], Localizer] = {}
    right = {head: np.zeros(len(rows), bool) for head in heads}
    error = {head: np.full(len(rows), np.inf) for head in heads}
    seconds = {head: np.zeros(len(rows)) for head in heads}
    try:
        for n, row in enumerate(rows):
            view = model.views[row]
            near = right_within(distance_of(model, view))
            for head in heads if n % 2 else heads[::-1]:
                key = view.camera, head
                if key not in localizers:
                    settings = Settings(
                        method=VISIBLE_STRUCTURE.name,
                        head=head,
                        engine="onnxruntime",
                        threads=1,
                        min_p_right=0.0,
                    )
                    localizers[key] = Localizer.open(bundle, view.camera, settings)
                    localizers[key].localize(store.photo(view.name))  # the first takes longer
                began = time.process_time()
                found = localizers[key].localize(store.photo(view.name)).cam_from_world
                seconds[head][n] = time.process_time() - began
                if found is not None:
                    off = pose_error(found, view.cam_from_world)
                    error[head][n] = off.translation
                    right[head][n] = off.translation <= near and off.rotation_deg <= RIGHT_DEG
    finally:
        for localizer in localizers.values():
            localizer.close()
    return {
        head: HeadTrials(right=right[head], error=error[head], seconds=seconds[head])
        for head in heads
    }
