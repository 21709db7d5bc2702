"""The corner of `plane_world`, photographed, mapped, and photographed again when it changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from plane_world import CAMERA, SIDE_M, _texture, pose, render

from edge_reloc.geometry.camera import write_camera
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text
from edge_reloc_export import map as mapping

CHANGED_SHARE = 0.35  # of the wall, from its left end


@dataclass(frozen=True, kw_only=True)
class ChangingWorld:
    """Folders of photos, and the map of the first."""

    folder: Path
    bundle: Path

    @property
    def later(self) -> Path:
        """Photos of the changed corner."""
        return self.folder / "later"

    @property
    def same(self) -> Path:
        """Photos from the same places of the corner as it was."""
        return self.folder / "same"


def make_changing_world(folder: Path) -> ChangingWorld:
    """Photos of before and after, and a map of those of before."""
    textures = [_texture(seed) for seed in (1, 2)]
    wall = textures[1].copy()
    columns = round(CHANGED_SHARE * wall.shape[1])
    wall[:, :columns] = _texture(9)[:, :columns]
    poses = write_photos(folder / "photos", textures, np.linspace(-0.2, 1.2, 14))
    write_photos(folder / "later", [textures[0], wall], np.linspace(-0.15, 1.15, 9))
    write_photos(folder / "same", textures, np.linspace(-0.15, 1.15, 9))
    write_camera(folder / "camera.json", CAMERA)
    write_reference(folder / "reference", poses)
    map_photos(folder / "photos", folder / "reference", folder / "map")
    return ChangingWorld(folder=folder, bundle=folder / "map")


def map_photos(photos: Path, reference: Path, output: Path) -> None:
    """By SIFT, small."""
    options = ["--images", photos, "--poses", reference, "--output", output, "--metric"]
    sift = ["--features", "sift", "--keypoints", "400"]
    assert mapping.main([str(word) for word in (*options, *sift)]) == 0


def write_photos(
    folder: Path, textures: list[np.ndarray], along: np.ndarray
) -> dict[str, np.ndarray]:
    """Render photos; `cam_from_world` by name."""
    folder.mkdir(parents=True)
    poses = {}
    for index, place in enumerate(along):
        name = f"{folder.name}_{index:02d}.png"
        poses[name] = _lifted(pose(float(place)), 0.25 * (index % 3))
        cv2.imwrite(str(folder / name), render(textures, poses[name]))
    return poses


def write_reference(folder: Path, poses: dict[str, np.ndarray]) -> None:
    """The poses as a COLMAP model."""
    images = [ColmapImage(name=n, camera_id=1, cam_from_world=p) for n, p in poses.items()]
    write_model_text(folder, ColmapModel(cameras={1: CAMERA}, images=images, points={}))


def is_repainted(xyz: np.ndarray) -> np.ndarray:
    """(P,): whether points (P,3) lie on the part of the wall that changed."""
    on_wall = (np.abs(xyz[:, 1]) < 0.05) & (xyz[:, 2] > 0.05)
    return on_wall & (xyz[:, 0] < -SIDE_M / 2 + CHANGED_SHARE * SIDE_M)


def _lifted(cam_from_world: np.ndarray, by_m: float) -> np.ndarray:
    """The same view from higher up: photos on one line would have parallax along it only."""
    out = cam_from_world.copy()
    out[:3, 3] -= out[:3, :3] @ [0.0, 0.0, by_m]
    return out
