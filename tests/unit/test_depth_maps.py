"""Depth maps of a camera beside the photos' own find their place, and are read from there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera, write_camera
from edge_reloc.geometry.rigid import compose, so3_exp, transform
from edge_reloc_export.photos.depth import open_depth_maps
from edge_reloc_export.scene.model import SceneModel, View
from tests.mapping_world import look_at

PHOTO = Camera(model="pinhole", width=320, height=240, fx=260, fy=260, cx=159.5, cy=119.5)
DEPTH = Camera(model="pinhole", width=320, height=240, fx=290, fy=290, cx=159.5, cy=119.5)
DEPTH_FROM_PHOTO = compose(so3_exp([0.012, -0.018, 0.006]), [0.03, -0.01, 0.015])


def bumpy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of a smooth landscape, world z of (x, y)."""
    return np.asarray(0.35 * np.sin(1.3 * x) * np.cos(1.7 * y) + 0.2 * np.sin(2.1 * x + y))


def depth_map(depth_cam_from_world: np.ndarray) -> np.ndarray:
    """Depth in millimetres, by walking along each ray to the landscape."""
    row, column = np.mgrid[0 : DEPTH.height, 0 : DEPTH.width]
    pixels = np.column_stack([column.ravel(), row.ravel()]).astype(float)
    ray = np.column_stack([DEPTH.rays_from_pixels(pixels), np.ones(len(pixels))])
    world_from_cam = np.linalg.inv(depth_cam_from_world)
    depth = np.full(len(ray), 4.0)
    for _ in range(60):
        at = transform(world_from_cam, ray * depth[:, None])
        depth += 0.5 * (at[:, 2] - bumpy(at[:, 0], at[:, 1]))
    return np.rint(1000 * depth).reshape(DEPTH.height, DEPTH.width).astype(np.uint16)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneModel, Path]:
    """Points on a landscape, photos of it from above, depth maps and their camera file."""
    folder = tmp_path_factory.mktemp("depth")
    generator = np.random.default_rng(0)
    xy = generator.uniform(-3, 3, (4000, 2))
    xyz = np.column_stack([xy, bumpy(*xy.T)])
    views = []
    for index in range(6):
        eye = np.array([-1 + 0.4 * index, -1.2, 4.0])
        pose = look_at(eye, np.array([-1 + 0.4 * index, 0.3, 0.0]))
        pixels = PHOTO.project(transform(pose, xyz))
        size = np.array([PHOTO.width, PHOTO.height])
        seen = np.flatnonzero(((pixels >= 0) & (pixels < size - 1)).all(axis=1))
        views.append(
            View(
                name=f"{index}.jpg",
                camera=PHOTO,
                cam_from_world=pose,
                xy_px=pixels[seen].astype(np.float32),
                point_id=seen.astype(np.int32),
                keypoint=np.arange(len(seen), dtype=np.int32),
            )
        )
        if index:  # one photo has no depth map
            cv2.imwrite(str(folder / f"{index}.png"), depth_map(DEPTH_FROM_PHOTO @ pose))
    write_camera(folder / "camera.json", DEPTH)
    return SceneModel(views=views, xyz=xyz, metric=True), folder


def off_by(scene: tuple[SceneModel, Path], camera_file: Path | None) -> np.ndarray:
    """Relative error of the depths read for points of the map."""
    model, folder = scene
    maps = open_depth_maps(folder, model, camera_file, 0.001)
    errors = []
    for view in model.views[1:]:
        expected = transform(view.cam_from_world, model.xyz[view.point_id])[:, 2]
        found = maps.at(view, view.xy_px.astype(float))
        errors.append(found[found > 0] / expected[found > 0] - 1)
    return np.abs(np.concatenate(errors))


def test_registration_finds_a_camera_beside(scene: tuple[SceneModel, Path]) -> None:
    model, folder = scene
    registered = np.median(off_by(scene, folder / "camera.json"))
    assert registered < 0.004
    # As if it were the photos' own camera: the lens and the place are wrong.
    assert np.median(off_by(scene, None)) > 3 * registered
    words = open_depth_maps(folder, model, folder / "camera.json", 0.001).registration
    assert words.startswith("depth maps of 5 photos; beside the photos' camera by 0.03")


def test_a_photo_without_depth_map_has_none(scene: tuple[SceneModel, Path]) -> None:
    model, folder = scene
    maps = open_depth_maps(folder, model, folder / "camera.json", 0.001)
    assert (maps.at(model.views[0], np.array([[100.0, 100.0]])) == 0).all()
    assert (maps.at(model.views[1], np.array([[160.0, 120.0]])) > 0).all()


def test_wrong_depth_maps_are_one_line(scene: tuple[SceneModel, Path], tmp_path: Path) -> None:
    model, folder = scene
    with pytest.raises(MappingError, match="no such folder of depth maps"):
        open_depth_maps(tmp_path / "nowhere", model, None, 0.001)
    with pytest.raises(MappingError, match="no depth map of any photo"):
        open_depth_maps(tmp_path, model, None, 0.001)
    for size, words in (
        ((20, 20), "20x20 pixels, its camera has 320x240"),
        ((240, 320, 3), "not a depth map; expected a 16-bit PNG of one channel"),
    ):
        cv2.imwrite(str(tmp_path / "1.png"), np.zeros(size, np.uint16))
        with pytest.raises(MappingError, match=words):
            open_depth_maps(tmp_path, model, None, 0.001).at(model.views[1], np.zeros((1, 2)))
    huge = bytearray((tmp_path / "1.png").read_bytes())
    huge[16:24] = (1 << 15).to_bytes(4, "big") * 2  # by its header, before anything is decoded
    (tmp_path / "1.png").write_bytes(huge)
    with pytest.raises(MappingError, match="32768x32768 pixels by its header"):
        open_depth_maps(tmp_path, model, None, 0.001).at(model.views[1], np.zeros((1, 2)))
    with pytest.raises(MappingError, match="are --depth-camera and --depth-unit right"):
        open_depth_maps(folder, model, folder / "camera.json", 1000.0)
