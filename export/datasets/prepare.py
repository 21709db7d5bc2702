"""A scene of a data set in this project's layout, by links."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from edge_reloc.errors import DiskError
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import (
    ColmapImage,
    ColmapModel,
    colmap_from_camera,
    write_model_text,
)

from .scene import Scene, Shot

FACTS = "dataset.json"
QUERIES = "queries_with_intrinsics.txt"


def prepare(scene: Scene, folder: Path) -> str:
    """Write images/ (links), mapping.txt, queries.txt, reference/ and dataset.json.

    queries_with_intrinsics.txt has a camera for each query, by COLMAP's conventions. What is
    there already is made anew. Returns a digest of names, cameras and poses, by which another
    scene or split of the same name is known. Raises DiskError.
    """
    shots = (*scene.mapping, *scene.queries)
    try:
        for shot in shots:
            _link(folder / "images" / shot.name, shot.path)
    except OSError as error:
        raise DiskError(f"{folder}: cannot be written ({error.strerror})") from None
    write_atomic(folder / "mapping.txt", _names(scene.mapping))
    write_atomic(folder / "queries.txt", _names(scene.queries))
    cameras = "".join(f"{shot.name} {_camera_words(shot.camera)}\n" for shot in scene.queries)
    write_atomic(folder / QUERIES, cameras)
    write_model_text(folder / "reference", model_of(shots))
    facts = {
        "name": scene.name,
        "metric": scene.metric,
        "thresholds": scene.thresholds,
        "scored": scene.scored,
    }
    write_atomic(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    return _digest(scene)


def _digest(scene: Scene) -> str:
    found = hashlib.sha256()
    for part in (scene.mapping, scene.queries):
        for shot in part:
            pose = None if shot.cam_from_world is None else shot.cam_from_world.tolist()
            found.update(repr((shot.name, shot.camera, pose)).encode())
        found.update(b"\n")
    return found.hexdigest()


def _camera_words(camera: Camera) -> str:
    model, params = colmap_from_camera(camera)
    words = " ".join(repr(float(value)) for value in params)
    return f"{model} {camera.width} {camera.height} {words}"


def model_of(shots: Sequence[Shot]) -> ColmapModel:
    """The poses that are known, with one camera for all photos that share it."""
    ids: dict[Camera, int] = {}
    images = []
    for shot in shots:
        if shot.cam_from_world is not None:
            camera_id = ids.setdefault(shot.camera, len(ids) + 1)
            images.append(
                ColmapImage(name=shot.name, camera_id=camera_id, cam_from_world=shot.cam_from_world)
            )
    return ColmapModel(
        cameras={camera_id: camera for camera, camera_id in ids.items()}, images=images, points={}
    )


def _names(shots: Sequence[Shot]) -> str:
    return "".join(f"{shot.name}\n" for shot in shots)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        if os.readlink(link) == str(target):
            return
        link.unlink()
    link.symlink_to(target)
