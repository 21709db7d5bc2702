"""Photos with known poses and intrinsics: match, triangulate, complete."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge_reloc.errors import CameraError, MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import ColmapModel

from ..photos.features import FeatureStore
from .complete import complete_tracks
from .matching import match_pairs
from .model import SceneModel, View
from .pairs import pairs_with_poses
from .tracks import build_tracks
from .triangulate import Triangulation, TriangulationOptions, check_epipolar, triangulate
from .view_geometry import ViewGeometry

log = logging.getLogger(__name__)

FEW_PHOTOS = 8  # below this a third photo rarely sees a point: two must do


def posed_views(
    model: ColmapModel, names: Sequence[str], store: FeatureStore
) -> tuple[list[View], list[str]]:
    """Views without points for the photos that have a pose, and the others.

    Cameras are scaled to the photos' own size; another aspect is refused.
    """
    posed = {image.name: image for image in model.images}
    views, without = [], []
    for name in names:
        image = posed.get(name)
        if image is None:
            without.append(name)
            continue
        features = store.get(name)
        try:
            camera = model.cameras[image.camera_id].scaled_to(features.width, features.height)
        except CameraError as error:
            raise MappingError(f"{name}: {error}") from error
        views.append(empty_view(name, camera, image.cam_from_world, store.turns.get(name, 0)))
    if len(views) < 2:
        raise MappingError(
            f"{len(views)} of {len(names)} photos have a pose in the model, expected at least 2; "
            f"the model names photos like '{model.images[0].name}', the folder like '{names[0]}'"
        )
    return views, without


def empty_view(name: str, camera: Camera, cam_from_world: np.ndarray, turns: int) -> View:
    """A view that sees no points yet."""
    return View(
        name=name,
        camera=camera,
        cam_from_world=np.asarray(cam_from_world, np.float64),
        xy_px=np.zeros((0, 2), np.float32),
        point_id=np.zeros(0, np.int32),
        keypoint=np.zeros(0, np.int32),
        quarter_turns=turns,
    )


def map_posed(
    views: Sequence[View],
    store: FeatureStore,
    options: TriangulationOptions,
    *,
    progress: bool = True,
) -> SceneModel:
    """Points of photos whose poses and cameras are known.

    Poses are kept as they are. The model is marked not metric: what the
    world's unit means is for the caller to say.
    """
    if len(views) < FEW_PHOTOS:
        options = replace(options, min_length=2)
    geometry = ViewGeometry(views)
    names = [view.name for view in views]
    xy_px = [store.get(name).xy_px for name in names]
    pairs = pairs_with_poses(store, geometry, xy_px, options, progress=progress)
    matches = match_pairs(store, names, pairs, progress=progress)
    found = sum(len(m.rows) for m in matches)
    matches = check_epipolar(matches, geometry, xy_px, options)
    right = sum(len(m.rows) for m in matches)
    log.info("%d pairs, %d matches, %d of them fit the poses", len(pairs), found, right)
    tracks = build_tracks(matches, [len(xy) for xy in xy_px])
    result = triangulate(tracks, geometry, xy_px, options)
    log.info("%d of %d tracks triangulated", len(result.xyz), tracks.count)
    if not len(result.xyz):
        raise MappingError(
            f"no point could be triangulated from {len(views)} photos: {found} matches, {right} of "
            f"them fit the poses, {tracks.count} tracks; check that the poses belong to the photos"
        )
    result = complete_tracks(result, geometry, store, xy_px, options)
    return assemble(views, xy_px, result)


def assemble(
    views: Sequence[View], xy_px: Sequence[np.ndarray], result: Triangulation
) -> SceneModel:
    """The scene of triangulated tracks; photos without points stay."""
    filled = []
    for index, view in enumerate(views):
        rows = result.tracks.view == index
        keypoint = result.tracks.keypoint[rows]
        filled.append(
            replace(
                view,
                xy_px=xy_px[index][keypoint],
                point_id=result.tracks.track[rows],
                keypoint=keypoint,
            )
        )
    return SceneModel(views=filled, xyz=result.xyz, metric=False)
