"""A prepared scene as peers are given it: mapping photos with poses, queries without."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from edge_reloc.arrays import F64
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import colmap_from_camera, read_model
from edge_reloc.sources.photo import load_photo
from edge_reloc_export.datasets.pose_files import listed_cameras
from edge_reloc_export.datasets.prepare import QUERIES


@dataclass(frozen=True, kw_only=True, eq=False)
class PosedPhoto:
    """A mapping photo."""

    name: str
    camera: Camera
    cam_from_world: F64


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenedPhoto:
    """A photo and the camera that took it, at the photo's own size."""

    image_bgr: NDArray[np.uint8]
    camera: Camera
    upright_turns: int

    def colmap_camera(self) -> Any:
        """The same as pycolmap has it."""
        model, parameters = colmap_from_camera(self.camera)
        size = {"width": self.camera.width, "height": self.camera.height}
        return pycolmap.Camera(model=model, **size, params=parameters)


def open_photo(path: Path, camera: Camera) -> OpenedPhoto:
    """Raises SourceError."""
    photo = load_photo(path, grey=False)
    height, width = photo.image.shape[:2]
    return OpenedPhoto(
        image_bgr=photo.image,
        camera=camera.scaled_to(width, height),
        upright_turns=photo.upright_turns,
    )


def mapping_photos(scene: Path) -> list[PosedPhoto]:
    """In the order of the scene's list."""
    model = read_model(scene / "reference")
    known = {image.name: image for image in model.images}
    return [
        PosedPhoto(
            name=name,
            camera=model.cameras[known[name].camera_id],
            cam_from_world=known[name].cam_from_world,
        )
        for name in (scene / "mapping.txt").read_text().split("\n")
        if name in known
    ]


def queries(scene: Path, every: int) -> list[tuple[str, Camera]]:
    """Names and cameras, and no pose."""
    return listed_cameras(scene / QUERIES)[::every]


def digest_of(photos: list[PosedPhoto], *more: str) -> str:
    """By which a map of other photos, poses or settings is known."""
    found = hashlib.sha256(repr(more).encode())
    for photo in photos:
        found.update(repr((photo.name, photo.camera, photo.cam_from_world.tolist())).encode())
    return found.hexdigest()[:12]
