"""COLMAP models in and out: both formats, every camera, every damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, quat_from_rotation, so3_exp
from edge_reloc.reference.colmap import (
    HALF_PX,
    MODELS,
    ColmapImage,
    ColmapModel,
    camera_from_colmap,
    colmap_from_camera,
    read_model,
    write_model_text,
)

POSE = compose(so3_exp([0.3, -0.2, 0.9]), [1.0, 2.0, 3.0])
TEXT_TOLERANCE_PX = 1e-4  # pixels are written with four digits


def model() -> ColmapModel:
    camera = Camera(
        model="opencv",
        width=640,
        height=480,
        fx=500,
        fy=501,
        cx=319.5,
        cy=239.5,
        distortion=(0.1, -0.02, 0.001, 0.002),
    )
    first = ColmapImage(
        name="a folder/1 of 2.jpg",
        camera_id=7,
        cam_from_world=POSE,
        xy_px=np.array([[0.0, 0.0], [10.25, 20.5]]),
        point_id=np.array([3, -1]),
    )
    second = ColmapImage(name="2.jpg", camera_id=7, cam_from_world=np.eye(4))
    return ColmapModel(
        cameras={7: camera}, images=[first, second], points={3: np.array([0.1, 0.2, 5.0])}
    )


def write_binary(folder: Path, source: ColmapModel) -> None:
    """COLMAP's binary layout, written independently of the reader."""
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(source.cameras))
    for key, camera in source.cameras.items():
        name, params = colmap_from_camera(camera)
        data += struct.pack("<iiQQ", key, MODELS[name].id, camera.width, camera.height)
        data += struct.pack(f"<{len(params)}d", *params)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(source.images))
    for key, image in enumerate(source.images, start=1):
        quat = quat_from_rotation(image.cam_from_world[:3, :3])
        data += struct.pack("<I7dI", key, *quat, *image.cam_from_world[:3, 3], image.camera_id)
        data += image.name.encode() + b"\0" + struct.pack("<Q", len(image.xy_px))
        for (x, y), point in zip(image.xy_px + HALF_PX, image.point_id, strict=True):
            data += struct.pack("<ddq", x, y, point)
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(source.points))
    for key, xyz in source.points.items():
        data += struct.pack("<Q3d3Bd", key, *xyz, 1, 2, 3, 0.5)
        data += struct.pack("<Q", 1) + struct.pack("<II", 1, 0)
    (folder / "points3D.bin").write_bytes(data)


def same(found: ColmapModel, expected: ColmapModel) -> None:
    assert found.cameras == expected.cameras
    assert list(found.points) == list(expected.points)
    for key, xyz in expected.points.items():
        np.testing.assert_array_equal(found.points[key], xyz)
    for a, b in zip(found.images, expected.images, strict=True):
        assert (a.name, a.camera_id) == (b.name, b.camera_id)
        np.testing.assert_allclose(a.cam_from_world, b.cam_from_world, atol=1e-12)
        np.testing.assert_allclose(a.xy_px, b.xy_px, atol=TEXT_TOLERANCE_PX)
        np.testing.assert_array_equal(a.point_id, b.point_id)


@pytest.mark.parametrize("place", ["", "sparse/0", "sparse", "0"])
@pytest.mark.parametrize("write", [write_model_text, write_binary], ids=["text", "binary"])
def test_a_model_comes_back_the_same(tmp_path: Path, write, place: str) -> None:
    write(tmp_path / place, model())
    same(read_model(tmp_path), model())


@pytest.mark.parametrize("write", [write_model_text, write_binary], ids=["text", "binary"])
def test_points_may_be_missing(tmp_path: Path, write) -> None:
    write(tmp_path, model())
    for file in tmp_path.glob("points3D.*"):
        file.unlink()
    found = read_model(tmp_path)
    assert found.points == {} and len(found.images) == 2


def test_pycolmap_reads_what_is_written(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    source = model()
    source.images[0].name = "1.jpg"  # COLMAP's text reader ends a name at a space
    source.images[1].xy_px = np.array([[5.0, 6.0]])
    source.images[1].point_id = np.array([3])
    write_model_text(tmp_path, source)
    found = pycolmap.Reconstruction(str(tmp_path))
    image = found.find_image_with_name("1.jpg")
    np.testing.assert_allclose(image.cam_from_world().matrix(), POSE[:3], atol=1e-12)
    np.testing.assert_allclose(image.points2D[0].xy, [HALF_PX, HALF_PX], atol=TEXT_TOLERANCE_PX)
    # The same point lands on the same pixel, half a pixel apart by convention.
    theirs = image.project_point(np.array([0.5, 0.2, 5.0]))
    xyz_cam = POSE[:3, :3] @ [0.5, 0.2, 5.0] + POSE[:3, 3]
    ours = source.cameras[7].project(xyz_cam[None])[0]
    np.testing.assert_allclose(theirs - HALF_PX, ours, atol=1e-6)


PARAMETERS = {
    "SIMPLE_PINHOLE": [500, 320, 240],
    "PINHOLE": [500, 510, 320, 240],
    "SIMPLE_RADIAL": [500, 320, 240, 0.05],
    "RADIAL": [500, 320, 240, 0.05, -0.01],
    "OPENCV": [500, 510, 320, 240, 0.05, -0.01, 0.001, 0.002],
    "FULL_OPENCV": [500, 510, 320, 240, 0.05, -0.01, 0.001, 0.002, 0.003, 0.01, 0.002, 0.001],
    "OPENCV_FISHEYE": [300, 310, 320, 240, 0.05, -0.01, 0.001, 0.002],
    "SIMPLE_RADIAL_FISHEYE": [300, 320, 240, 0.05],
    "RADIAL_FISHEYE": [300, 320, 240, 0.05, -0.01],
}


@pytest.mark.parametrize("name", list(MODELS))
def test_each_camera_model_projects_as_colmap_does(name: str) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    params = [float(p) for p in PARAMETERS[name]]
    ours = camera_from_colmap(name, 640, 480, params, "test")
    theirs = pycolmap.Camera(model=name, width=640, height=480, params=params)
    xyz = np.random.default_rng(0).uniform([-0.5, -0.4, 1], [0.5, 0.4, 1.2], (20, 3))
    expected = np.array([theirs.img_from_cam(p) for p in xyz]).reshape(-1, 2) - HALF_PX
    np.testing.assert_allclose(ours.project(xyz), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["PINHOLE", "OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE"])
def test_cameras_go_both_ways(name: str) -> None:
    params = [float(p) for p in PARAMETERS[name]]
    camera = camera_from_colmap(name, 640, 480, params, "test")
    assert colmap_from_camera(camera) == (name, pytest.approx(params))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("cameras.txt", "1 PINHOLE 640\n", "cameras.txt:1: expected 'CAMERA_ID MODEL"),
        ("cameras.txt", "#\n1 PINHOLE 640 480 500 510 320\n", "cameras.txt:2: PINHOLE has 3"),
        ("cameras.txt", "1 FOV 640 480 1 1 1 1 1\n", "cameras.txt:1: camera model 'FOV' is not"),
        ("cameras.txt", "1 PINHOLE 640 480 -5 5 3 2\n", "cameras.txt:1: camera focal length"),
        ("cameras.txt", "9 PINHOLE 640 480 5 5 3 2\n", "uses camera 7, which is not among"),
        ("images.txt", "1 1 0 0 0 0 0 0 7\n\n", "images.txt:1: expected 'IMAGE_ID QW"),
        ("images.txt", "1 0 0 0 0 0 0 0 7 a.jpg\n\n", "images.txt:1: expected 'IMAGE_ID QW"),
        ("images.txt", "1 1 0 0 0 0 0 nan 7 a.jpg\n\n", "images.txt:1: expected"),
        (
            "images.txt",
            "1 1 0 0 0 0 0 0 7 a.jpg\n2 1 0 0 0 0 0 0 7 b.jpg\n",
            "images.txt:2: expected the 'X Y POINT3D_ID' triples of 'a.jpg'",
        ),
        ("images.txt", "# nothing\n", "the model has no images"),
        ("points3D.txt", "1 2 3\n", "points3D.txt:1: expected 'POINT3D_ID X Y Z"),
        ("points3D.txt", "\n1 a b c\n", "points3D.txt:2: expected 'POINT3D_ID X Y Z"),
    ],
)
def test_malformed_text_names_file_and_line(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    write_model_text(tmp_path, model())
    (tmp_path / file).write_text(text)
    with pytest.raises(MappingError, match=message):
        read_model(tmp_path)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_damaged_binary_is_one_clear_error(tmp_path: Path, file: str) -> None:
    write_binary(tmp_path, model())
    whole = (tmp_path / file).read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / file).write_bytes(whole[:length])
        with pytest.raises(MappingError, match=rf"{file}: damaged or cut short"):
            read_model(tmp_path)
    (tmp_path / file).write_bytes(whole + b"\0\0")
    with pytest.raises(MappingError, match="2 bytes too many"):
        read_model(tmp_path)
    # A count of 2^60 entries is damage, not a reason to take all memory.
    (tmp_path / file).write_bytes(struct.pack("<Q", 1 << 60) + whole[8:])
    with pytest.raises(MappingError, match=rf"{file}: damaged or cut short"):
        read_model(tmp_path)


def test_no_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="no COLMAP model here"):
        read_model(tmp_path)
    write_model_text(tmp_path, model())
    (tmp_path / "images.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(MappingError, match="not a text file"):
        read_model(tmp_path)
