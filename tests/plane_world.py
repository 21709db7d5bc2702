"""A place with exact truth: two textured planes that meet in a corner.

The floor z = 0 and the wall y = 0 (z up, metres) are seen by a pinhole
camera. Map points are SIFT keypoints of a fronto-parallel render, so their
places on the planes are known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_reloc.bundle import BundleWriter, Manifest, World
from edge_reloc.bundle.layout import CELL_CENTRE, CELL_RADIUS, CELL_START, DESCRIPTORS, XYZ
from edge_reloc.features import FeatureSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.geometry.camera import Camera, write_camera
from edge_reloc.geometry.rigid import compose, invert
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text
from edge_reloc.structs import Features, Frame

CAMERA = Camera(model="pinhole", width=480, height=360, fx=420, fy=420, cx=239.5, cy=179.5)
TEXELS_PER_M = 200
SIDE_M = 4.0
SPEC = FeatureSpec(kind="sift", dim=128, keypoints=800, max_side=1024)


@dataclass(frozen=True, kw_only=True)
class PlaneWorld:
    """Folders of a mapped corner and of frames with known poses."""

    bundle: Path
    frames: Path
    camera: Path
    cam_from_world: dict[str, np.ndarray]


def make_plane_world(folder: Path, frames: int = 8) -> PlaneWorld:
    """Write bundle, frames and camera file below `folder`."""
    textures = [_texture(seed) for seed in (1, 2)]
    write_bundle(folder / "map", textures)
    (folder / "frames").mkdir(parents=True)
    write_camera(folder / "camera.json", CAMERA)
    poses = {}
    for index in range(frames):
        name = f"{index:03d}.png"
        poses[name] = pose(index / max(1, frames - 1))
        cv2.imwrite(str(folder / "frames" / name), render(textures, poses[name]))
    return PlaneWorld(
        bundle=folder / "map",
        frames=folder / "frames",
        camera=folder / "camera.json",
        cam_from_world=poses,
    )


def write_bundle(directory: Path, textures: list[np.ndarray]) -> None:
    """A map of the corner's SIFT keypoints, method exhaustive."""
    parts = []
    for texture, world_from_plane in zip(textures, PLANES, strict=True):
        features = _keypoints(texture)
        xy_m = (features.xy_px[: features.n] + 0.5) / TEXELS_PER_M
        plane = np.column_stack([xy_m, np.ones(len(xy_m))])
        parts.append((plane @ world_from_plane.T, features.descriptor[: features.n].copy()))
    xyz = np.concatenate([p for p, _ in parts]).astype(np.float32)
    descriptor = np.concatenate([d for _, d in parts]).astype(np.float16)
    centre = xyz.mean(axis=0)
    manifest = Manifest(
        name="corner",
        world=World(metric=True, gravity=(0.0, 0.0, -1.0)),
        features=SPEC,
        method="exhaustive",
        cameras={"render": CAMERA.to_dict()},
    )
    with BundleWriter(directory, manifest) as writer:
        writer.add_array(XYZ, xyz, "m")
        writer.add_array(DESCRIPTORS, descriptor)
        writer.add_array(CELL_START, np.array([0, len(xyz)], np.int32))
        writer.add_array(CELL_CENTRE, centre[None], "m")
        radius = np.linalg.norm(xyz - centre, axis=1).max()
        writer.add_array(CELL_RADIUS, np.array([radius], np.float32), "m")


# world = M @ (u, v, 1) with u, v metres on the texture, origin at its corner.
PLANES = (
    np.array([[1.0, 0, -SIDE_M / 2], [0, -1, 0], [0, 0, 0]]),  # floor, in front of the wall
    np.array([[1.0, 0, -SIDE_M / 2], [0, 0, 0], [0, -1, SIDE_M]]),  # wall, upright
)


def pose(along: float) -> np.ndarray:
    """cam_from_world, looking into the corner from the left to the right."""
    centre = np.array([-0.8 + 1.6 * along, -3.2 + 0.4 * along, 1.6])
    ahead = np.array([0.3 - 0.6 * along, 0.0, 0.9]) - centre
    z = ahead / np.linalg.norm(ahead)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    world_from_cam = compose(np.stack([x, np.cross(z, x), z], axis=1), centre)
    return invert(world_from_cam)


def render(textures: list[np.ndarray], cam_from_world: np.ndarray) -> np.ndarray:
    """Grey image (H,W) uint8 of both planes, the nearer over the farther."""
    rays = np.linalg.inv(CAMERA.matrix) @ _pixel_grid()
    image = np.full(CAMERA.width * CAMERA.height, 90, np.uint8)
    nearest = np.full(image.shape, np.inf)
    for texture, world_from_plane in zip(textures, PLANES, strict=True):
        cam_from_plane = cam_from_world[:3, :3] @ world_from_plane
        cam_from_plane[:, 2] += cam_from_world[:3, 3]
        uvw = np.linalg.inv(cam_from_plane) @ rays
        depth = 1.0 / uvw[2]
        uv = (uvw[:2] * depth).astype(np.float32) * TEXELS_PER_M - 0.5
        shape = (CAMERA.height, CAMERA.width)
        seen = cv2.remap(
            texture, uv[0].reshape(shape), uv[1].reshape(shape), cv2.INTER_LINEAR
        ).ravel()
        size = SIDE_M * TEXELS_PER_M - 1
        inside = (
            (depth > 0.1) & (depth < nearest) & (uv >= 0).all(axis=0) & (uv <= size).all(axis=0)
        )
        image[inside], nearest[inside] = seen[inside], depth[inside]
    return image.reshape(CAMERA.height, CAMERA.width)


def write_truth(folder: Path, cam_from_world: dict[str, np.ndarray]) -> None:
    """The poses as a COLMAP model."""
    images = [
        ColmapImage(name=name, camera_id=1, cam_from_world=matrix)
        for name, matrix in cam_from_world.items()
    ]
    write_model_text(folder, ColmapModel(cameras={1: CAMERA}, images=images, points={}))


def _texture(seed: int) -> np.ndarray:
    """Blots of many sizes: SIFT finds something at every distance."""
    rng = np.random.default_rng(seed)
    side = round(SIDE_M * TEXELS_PER_M)
    total = np.zeros((side, side))
    for cells in (12, 25, 50, 100, 200):
        noise = rng.normal(size=(cells, cells)).astype(np.float32)
        total += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    total = (total - total.mean()) / total.std()
    return np.clip(128 + 50 * total, 0, 255).astype(np.uint8)


def _keypoints(texture: np.ndarray) -> Features:
    height, width = texture.shape
    camera = Camera(
        model="pinhole", width=width, height=height, fx=width, fy=width, cx=width / 2, cy=height / 2
    )
    spec = FeatureSpec(kind="sift", dim=128, keypoints=1500, max_side=2048)
    out = Features(Arena(), spec.keypoints, spec.dim, 0)
    frame = Frame(image=texture, t_ns=0, camera=camera)
    open_extractor(spec, camera, lambda file: open_engine(Path(file), Arena())).extract(frame, out)
    return out


def _pixel_grid() -> np.ndarray:
    x, y = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)]).astype(np.float64)
