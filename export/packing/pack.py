"""Pack a reconstruction into a map bundle."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge_reloc
from edge_reloc.bundle import BundleWriter, Manifest, World, layout
from edge_reloc.features import FeatureSpec
from edge_reloc.geometry.rigid import camera_centre
from edge_reloc.methods.table import IMAGE_RETRIEVAL

from ..scene.combine import PhotoStore
from ..scene.grade import Grade
from ..scene.model import SceneModel, View, save_model
from .cells import make_cells
from .class_tokens import ClassTokens
from .descriptors import point_descriptors
from .networks import add_network
from .observers import cell_observers
from .photo_embedding import of_class_tokens, of_local_features
from .quantising import quantise
from .uncertainty import point_sigma

log = logging.getLogger(__name__)

PACKED_MODEL = "packed.npz"


def pack_map(
    model: SceneModel,
    store: PhotoStore,
    spec: FeatureSpec,
    output: Path,
    *,
    name: str,
    cells: int | None = None,
    parts: dict[str, tuple[float, float, float]] | None = None,
    grade: Grade | None = None,
    int8: bool = False,
    tokens: ClassTokens | None = None,
) -> SceneModel:
    """Write the bundle; returns the model with points in the bundle's order.

    The reordered model is also kept in the work folder: training needs ids
    that agree with the bundle. parts: where combined maps were put. grade: what the
    reconstruction is worth, where it was judged. int8: descriptors of half the
    size. tokens: what embeds photos instead of their local features.
    """
    observations = np.bincount(
        np.concatenate([v.point_id for v in model.views]), minlength=len(model.xyz)
    )
    grid = make_cells(model.xyz, mean_observer(model), observations, cells=cells)
    packed = reorder_points(model, grid.order)
    descriptor: NDArray[Any] = point_descriptors(packed, store)
    if int8:
        descriptor, scale = quantise(np.asarray(descriptor, np.float32))
        spec = replace(spec, descriptor_scale=scale)
    if tokens is None:
        embedding = of_local_features(store, packed.views)
    else:
        embedding = of_class_tokens(tokens, store, packed.views)
    seen = [np.unique(view.point_id) for view in packed.views]

    cameras: dict[str, Any] = {}
    for view in packed.views:
        if view.camera.to_dict() not in cameras.values():
            cameras[f"camera{len(cameras)}"] = view.camera.to_dict()
    manifest = Manifest(
        name=name,
        world=World(
            metric=model.metric,
            gravity=_down(model),
            georeference=model.georeference,
            parts=parts,
        ),
        features=spec,
        embedding=embedding.spec,
        method=IMAGE_RETRIEVAL.name,
        cameras=cameras,
        statistics={
            "points": len(packed.xyz),
            "photos": len(packed.views),
            "observations": int(observations.sum()),
            "notes": model.notes,
            **({} if grade is None else {"grade": grade.to_dict()}),
        },
        generator=f"edge_reloc {edge_reloc.__version__}",
    )
    unit = "metre" if model.metric else "map unit"
    with BundleWriter(output, manifest) as bundle:
        bundle.add_array(layout.XYZ, packed.xyz.astype(np.float32), unit)
        bundle.add_array(layout.DESCRIPTORS, descriptor)
        bundle.add_array(layout.DIRECTION, mean_direction(packed))
        bundle.add_array(layout.SIGMA, point_sigma(packed), unit)
        bundle.add_array(layout.CELL_START, grid.start)
        bundle.add_array(layout.CELL_CENTRE, grid.centre, unit)
        bundle.add_array(layout.CELL_RADIUS, grid.radius, unit)
        observers = cell_observers(packed, grid.start, grid.centre, grid.radius)
        bundle.add_array(layout.CELL_OBSERVERS, observers, unit)
        embedding.add_to(bundle)
        start = np.cumsum([0] + [len(ids) for ids in seen]).astype(np.int32)
        bundle.add_array(layout.VIEW_START, start)
        bundle.add_array(layout.VIEW_POINT_ID, np.concatenate(seen).astype(np.int32))
        for network in spec.networks:
            add_network(bundle, network.file, store.network(network.file).read_bytes())
    save_model(store.work / PACKED_MODEL, packed)
    return packed


def _down(model: SceneModel) -> tuple[float, float, float] | None:
    if model.gravity is None:
        return None
    x, y, z = model.gravity.tolist()
    return x, y, z


def mean_observer(model: SceneModel) -> np.ndarray:
    """(P,3): mean position of the cameras that see each point."""
    total, count = np.zeros((len(model.xyz), 3)), np.zeros(len(model.xyz))
    for view in model.views:
        ids = np.unique(view.point_id)
        total[ids] += camera_centre(view.cam_from_world)
        count[ids] += 1
    return total / np.maximum(count, 1)[:, None]


def mean_direction(model: SceneModel) -> NDArray[np.int8]:
    """(P,3): mean of the unit vectors from each point to the cameras that see it, times 127."""
    total, count = np.zeros((len(model.xyz), 3)), np.zeros(len(model.xyz))
    for view in model.views:
        ids = np.unique(view.point_id)
        away = camera_centre(view.cam_from_world) - model.xyz[ids]
        total[ids] += away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
        count[ids] += 1
    return np.asarray(np.rint(127 * total / np.maximum(count, 1)[:, None]), np.int8)


def reorder_points(model: SceneModel, order: np.ndarray) -> SceneModel:
    """The model with points renumbered: new id i was order[i]."""
    new_id = np.empty(len(order), np.int32)
    new_id[order] = np.arange(len(order), dtype=np.int32)
    views = [
        View(
            name=v.name,
            camera=v.camera,
            cam_from_world=v.cam_from_world,
            xy_px=v.xy_px,
            point_id=new_id[v.point_id],
            keypoint=v.keypoint,
            quarter_turns=v.quarter_turns,
        )
        for v in model.views
    ]
    return SceneModel(
        views=views,
        xyz=model.xyz[order],
        metric=model.metric,
        gravity=model.gravity,
        georeference=model.georeference,
        notes=list(model.notes),
    )
