"""Ground seen from above: known points, strips of nadir photos, and perfect features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mapping_world import World, WorldStore

from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose
from edge_reloc_export.photos.features import PhotoFeatures
from edge_reloc_export.scene.posed import empty_view

HEIGHT_M = 40.0
CAMERA = Camera(
    model="opencv", width=640, height=480, fx=450.0, fy=450.0, cx=319.5, cy=239.5,
    distortion=(-0.02,),
)  # fmt: skip


def make_ground(
    work: Path,
    *,
    relief_m: float = 0.0,
    oblique_deg: float = 0.0,
    noise_px: float = 0.4,
    camera: Camera = CAMERA,
    seed: int = 0,
) -> World:
    """Three strips of six photos, 40 m above the ground, z up; every other photo leans."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform([-60, -50], [110, 80], (2500, 2))
    hills = np.sin(xy[:, 0] / 13) + np.sin(xy[:, 1] / 17 + 1)
    xyz = np.column_stack([xy, relief_m / 2 * hills])
    descriptor = rng.standard_normal((len(xyz), 64))
    views, features, point_of = [], {}, {}
    for index in range(18):
        strip, along = divmod(index, 6)
        lean = np.radians(oblique_deg) * (-1) ** index
        down = np.diag([1.0, -1.0, -1.0])
        x, y, z = *rng.normal(0, 0.02, 2), rng.normal(0, 0.03)
        shake = np.array([[1, -z, y], [z, 1, -x - lean], [-y, x + lean, 1]])
        u, _, vt = np.linalg.svd(shake)
        rotation = u @ vt @ down
        position = np.array([12.0 * along, 15.0 * strip, HEIGHT_M]) + rng.normal(0, 0.5, 3)
        pose = compose(rotation, -rotation @ position)
        pixels = camera.project(xyz @ pose[:3, :3].T + pose[:3, 3])
        inside = (pixels >= 0) & (pixels < [camera.width - 1, camera.height - 1])
        seen = np.flatnonzero(inside.all(axis=1))
        name = f"{index:03d}.png"
        near = descriptor[seen] + 0.1 * rng.standard_normal((len(seen), 64))
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        views.append(empty_view(name, camera, pose, 0))
        point_of[name] = seen
        features[name] = PhotoFeatures(
            xy_px=(pixels[seen] + noise_px * rng.standard_normal((len(seen), 2))).astype(
                np.float32
            ),
            score=np.ones(len(seen), np.float32),
            descriptor=near.astype(np.float16),
            width=camera.width,
            height=camera.height,
        )
    return World(xyz, views, WorldStore(work, features, 64), point_of)
