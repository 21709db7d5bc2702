"""A synthetic scene for mapping: known points, poses, and perfect features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_reloc.features import FeatureSpec
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose
from edge_reloc_export.photos.features import PhotoFeatures
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.scene.posed import empty_view

CAMERA = Camera(
    model="opencv",
    width=640,
    height=480,
    fx=520.0,
    fy=522.0,
    cx=318.0,
    cy=243.0,
    distortion=(-0.05, 0.02, 0.001, -0.0005),
)


class WorldStore:
    """Stands in for a FeatureStore: features made, not extracted."""

    def __init__(self, work: Path, photos: dict[str, PhotoFeatures], dim: int) -> None:
        self.work, self.cache, self._photos = work, work, photos
        self.workers = None
        self.spec = FeatureSpec(kind="sift", dim=dim)
        self.turns: dict[str, int] = {}

    def get(self, name: str) -> PhotoFeatures:
        return self._photos[name]

    def key(self, name: str) -> str:
        return name


@dataclass
class World:
    """xyz (P,3), views with true poses, and which point each keypoint shows.

    point_of[name] (N,) is -1 for keypoints that show nothing.
    """

    xyz: NDArray[np.float64]
    views: list[View]
    store: WorldStore
    point_of: dict[str, NDArray[np.int64]]


def look_at(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """cam_from_world of an upright camera (world z up)."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return compose(rotation, -rotation @ position)


def make_world(
    work: Path,
    *,
    photos: int = 10,
    points: int = 400,
    noise_px: float = 0.3,
    clutter: int = 60,
    wrong: float = 0.0,
    seed: int = 0,
) -> World:
    """Cameras on an arc before a bumpy wall, 4 to 6 m away.

    clutter: keypoints a photo that show nothing. wrong: share of keypoints
    whose descriptor is that of another point.
    """
    rng = np.random.default_rng(seed)
    xyz = np.stack(
        [
            rng.uniform(-3, 3, points),
            5 + 0.4 * rng.standard_normal(points),
            rng.uniform(-2, 2, points),
        ],
        axis=1,
    )
    descriptor = rng.standard_normal((points, 64))
    views, features, point_of = [], {}, {}
    for index in range(photos):
        angle = np.linspace(-0.5, 0.5, photos)[index]
        position = np.array([5 * np.sin(angle), 5 - 5 * np.cos(angle), 0.3 * np.sin(7 * angle)])
        pose = look_at(position, np.array([0.0, 5.0, 0.0]))
        name = f"{index:03d}.png"
        view = empty_view(name, CAMERA, pose, 0)
        pixels = CAMERA.project(xyz @ pose[:3, :3].T + pose[:3, 3])
        seen = np.flatnonzero(
            (pixels >= 0).all(axis=1) & (pixels[:, 0] < 639) & (pixels[:, 1] < 479)
        )
        xy = np.concatenate(
            [
                pixels[seen] + noise_px * rng.standard_normal((len(seen), 2)),
                rng.uniform([0, 0], [639, 479], (clutter, 2)),
            ]
        )
        shown = seen.copy()
        swap = rng.random(len(seen)) < wrong
        shown[swap] = rng.integers(0, points, int(swap.sum()))
        d = np.concatenate([descriptor[shown], rng.standard_normal((clutter, 64))])
        d += 0.1 * rng.standard_normal(d.shape)
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        order = rng.permutation(len(xy))
        views.append(view)
        point_of[name] = np.concatenate([seen, np.full(clutter, -1)])[order]
        features[name] = PhotoFeatures(
            xy_px=xy[order].astype(np.float32),
            score=np.ones(len(xy), np.float32),
            descriptor=d[order].astype(np.float16),
            width=CAMERA.width,
            height=CAMERA.height,
        )
    return World(xyz, views, WorldStore(work, features, 64), point_of)


def model_of(world: World) -> SceneModel:
    """The world as a reconstruction without errors: true poses and points."""
    views = []
    for view in world.views:
        shown = world.point_of[view.name]
        keypoint = np.flatnonzero(shown >= 0).astype(np.int32)
        xy = world.store.get(view.name).xy_px[keypoint]
        ids = shown[keypoint].astype(np.int32)
        views.append(replace(view, xy_px=xy, point_id=ids, keypoint=keypoint))
    return SceneModel(views=views, xyz=world.xyz, metric=True)
