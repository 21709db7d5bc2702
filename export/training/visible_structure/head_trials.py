"""Localise held-out photos with each head, as a device would, in turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_reloc.arrays import I64
from edge_reloc.bundle import open_bundle
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
    rows = np.array([n for n in rows if len(model.views[n].point_id)])
    if len(rows) > MOST_PHOTOS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PHOTOS).astype(int)]
    bundle, views = open_bundle(bundle_dir), [model.views[n] for n in rows]
    right = {head: np.zeros(len(views), bool) for head in heads}
    error = {head: np.full(len(views), np.inf) for head in heads}
    seconds = {head: np.zeros(len(views)) for head in heads}
    # One camera after the other: where each photo has its own, two localizers fit in memory.
    for camera in dict.fromkeys(view.camera for view in views):
        with contextlib.ExitStack() as stack:
            localizers = {
                head: stack.enter_context(Localizer.open(bundle, camera, _settings(head)))
                for head in heads
            }
            mine = [n for n, view in enumerate(views) if view.camera == camera]
            for localizer in localizers.values():  # the first frame takes longer
                localizer.localize(store.photo(views[mine[0]].name))
            for n in mine:
                view, photo = views[n], store.photo(views[n].name)
                near = right_within(distance_of(model, view))
                for head in heads if n % 2 else heads[::-1]:
                    began = time.process_time()
                    found = localizers[head].localize(photo).cam_from_world
                    seconds[head][n] = time.process_time() - began
                    if found is not None:
                        off = pose_error(found, view.cam_from_world)
                        error[head][n] = off.translation
                        right[head][n] = off.translation <= near and off.rotation_deg <= RIGHT_DEG
    return {
        head: HeadTrials(right=right[head], error=error[head], seconds=seconds[head])
        for head in heads
    }


def _settings(head: str) -> Settings:
    return Settings(
        method=VISIBLE_STRUCTURE.name,
        head=head,
        engine="onnxruntime",
        threads=1,
        min_p_right=0.0,
    )
