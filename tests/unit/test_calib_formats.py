"""Camera files of others, there and back, and read by their own libraries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("yaml")

from test_calib import errors_of

from edge_reloc.errors import CameraError, ConfigError
from edge_reloc.geometry.camera import Camera, read_camera, write_camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc_calib import calibrate as program
from edge_reloc_calib.formats import read_camera_of, read_cameras, write_camera_as

SIZE = {"width": 752, "height": 480, "fx": 458.654, "fy": 457.296, "cx": 367.215, "cy": 248.375}
CAMERAS = {
    "pinhole": Camera(model="pinhole", **SIZE),
    "radtan": Camera(model="opencv", **SIZE, distortion=(-0.2834, 0.0739, 0.00019, 1.76e-05)),
    "opencv5": Camera(model="opencv", **SIZE, distortion=(-0.28, 0.07, 0.0002, 1e-05, -0.01)),
    "rational": Camera(
        model="opencv", **SIZE, distortion=(0.4, 0.1, 0.0005, -0.0003, 0.02, 0.65, 0.2, 0.03)
    ),
    "fisheye": Camera(model="fisheye", **SIZE, distortion=(-0.02, 0.005, -0.003, 0.001)),
}
SUFFIX = {"ros": "yaml", "kalibr": "yaml", "colmap": "txt", "opencv": "yml"}

KALIBR = """\
cam0:
  T_cam_imu:
  - [0.0, -1.0, 0.0, 0.1]
  - [0.0, 0.0, -1.0, 0.2]
  - [1.0, 0.0, 0.0, 0.3]
  - [0.0, 0.0, 0.0, 1.0]
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.2834, 0.0739, 0.00019, 1.76e-05]
  distortion_model: radtan
  intrinsics: [458.654, 457.296, 367.215, 248.375]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
  timeshift_cam_imu: 0.005
cam1:
  camera_model: pinhole
  distortion_coeffs: [-0.02, 0.005, -0.003, 0.001]
  distortion_model: equidistant
  intrinsics: [458.654, 457.296, 367.215, 248.375]
  resolution: [752, 480]
"""
ROS_MESSAGE = """\
header: {stamp: {sec: 1, nanosec: 2}, frame_id: camera}
height: 480
width: 752
distortion_model: rational_polynomial
d: [0.4, 0.1, 0.0005, -0.0003, 0.02, 0.65, 0.2, 0.03]
k: [458.654, 0.0, 367.215, 0.0, 457.296, 248.375, 0.0, 0.0, 1.0]
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
binning_x: 0
---
"""
STATIC = """\
transforms:
- header: {frame_id: base_link}
  child_frame_id: front_optical
  transform:
    translation: {x: 0.1, y: 0.02, z: 0.3}
    rotation: {x: -0.5, y: 0.5, z: -0.5, w: 0.5}
- header: {frame_id: base_link}
  child_frame_id: imu
  transform:
    translation: {x: 0.0, y: 0.0, z: 0.0}
    rotation: {x: 0.0, y: 0.0, z: 0.0, w: 1.0}
"""


@pytest.mark.parametrize("lens", CAMERAS)
@pytest.mark.parametrize("kind", SUFFIX)
def test_there_and_back(tmp_path: Path, kind: str, lens: str) -> None:
    camera, path = CAMERAS[lens], tmp_path / f"camera.{SUFFIX[kind]}"
    if kind == "kalibr" and lens in ("opencv5", "rational"):
        with pytest.raises(CameraError, match="radtan has k1 k2 p1 p2 only"):
            write_camera_as(f"{kind}:{path}", camera)
        return
    write_camera_as(f"{kind}:{path}", camera)
    found = read_camera_of(path)
    if kind == "kalibr" and lens == "pinhole":  # its pinhole is a radtan without distortion
        assert np.array_equal(found.parameters[:4], camera.parameters) and not any(found.distortion)
    else:
        assert found == camera


def test_colmap_counts_from_the_corner_of_the_first_pixel(tmp_path: Path) -> None:
    path = write_camera_as(f"colmap:{tmp_path / 'cameras.txt'}", CAMERAS["pinhole"])
    line = path.read_text().splitlines()[-1].split()
    assert line[:4] == ["1", "PINHOLE", "752", "480"]
    assert [float(v) for v in line[6:]] == [367.715, 248.875]


def test_opencv_reads_what_is_written_for_it(tmp_path: Path) -> None:
    path = write_camera_as(f"opencv:{tmp_path / 'camera.yml'}", CAMERAS["opencv5"])
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    assert np.allclose(storage.getNode("camera_matrix").mat(), CAMERAS["opencv5"].matrix)
    bend = storage.getNode("distortion_coefficients").mat().ravel()
    assert np.allclose(bend, CAMERAS["opencv5"].distortion[:5])
    rows = cv2.FileStorage(str(tmp_path / "own.xml"), cv2.FILE_STORAGE_WRITE)
    rows.write("image_width", 752)
    rows.write("image_height", 480)
    rows.write("cameraMatrix", CAMERAS["fisheye"].matrix)
    rows.write("distCoeffs", np.array(CAMERAS["fisheye"].distortion))
    rows.write("fisheye_model", 1)
    rows.release()
    assert read_camera_of(tmp_path / "own.xml") == CAMERAS["fisheye"]


def test_opencv_files_may_have_plain_lists(tmp_path: Path) -> None:
    camera, path = CAMERAS["opencv5"], tmp_path / "plain.yml"
    lists = f"K: {camera.matrix.ravel().tolist()}\nD: {list(camera.distortion[:5])}\n"
    path.write_text(f"%YAML:1.0\n---\nimage_width: 752\nimage_height: 480\n{lists}")
    assert read_camera_of(path) == camera


def test_files_as_their_programs_write_them(tmp_path: Path) -> None:
    (tmp_path / "chain.yaml").write_text(KALIBR)
    both = read_cameras(tmp_path / "chain.yaml")
    assert both["cam1"] == CAMERAS["fisheye"]
    assert both["cam0"].distortion == CAMERAS["radtan"].distortion
    mount = both["cam0"].mount
    assert mount is not None
    assert np.allclose(mount[:3, :3], MOUNTS["front"][:3, :3])
    assert np.allclose(mount[:3, 3], [-0.3, 0.1, 0.2])
    (tmp_path / "info.yaml").write_text(ROS_MESSAGE)
    assert read_camera_of(tmp_path / "info.yaml") == CAMERAS["rational"]


def test_kalibr_and_ros_tell_the_mount(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain, camera = tmp_path / "chain.yaml", tmp_path / "camera.json"
    chain.write_text(KALIBR)
    output = ["--output", str(camera)]
    assert program.main(["--import", str(chain), "--camera", "cam0", *output]) == 0
    assert "opencv 752x480, with its mount" in capsys.readouterr().out
    static = tmp_path / "static.yaml"
    static.write_text(STATIC)
    arguments = ["--import", str(static), "--calibration", str(camera)]
    assert "name its optical frame by --camera: front_optical, imu" in errors_of(arguments, capsys)
    assert program.main([*arguments, "--camera", "front_optical"]) == 0
    expected = compose(MOUNTS["front"][:3, :3], [0.1, 0.02, 0.3])
    assert np.allclose(read_camera(camera).mount, expected)
    frd = [*arguments, "--camera", "front_optical", "--body-axes", "frd"]
    assert program.main(frd) == 0
    assert np.allclose(read_camera(camera).mount, np.diag([1, -1, -1, 1]) @ expected)
    kalibr = tmp_path / "out.yaml"
    assert program.main(["--calibration", str(camera), "--export", f"kalibr:{kalibr}"]) == 0
    assert np.allclose(read_camera_of(kalibr).mount, read_camera(camera).mount)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "a.yaml",
            KALIBR.replace("camera_model: pinhole", "camera_model: ds"),
            "camera_model 'ds'",
        ),
        ("a.yaml", KALIBR.replace(" radtan", " fov"), "distortion_model 'fov', expected one of"),
        ("a.yaml", KALIBR.replace("[752, 480]", "[752]"), "resolution is [752], expected 2"),
        ("a.yaml", KALIBR.replace("[1.0, 0.0, 0.0, 0.3]", "[9.0, 0, 0, 0]"), "T_cam_imu: expected"),
        ("a.yaml", ROS_MESSAGE.replace("rational_polynomial", "double_sphere"), "'double_sphere'"),
        ("a.yaml", ROS_MESSAGE.replace("binning_x: 0", "binning_x: 2"), "a binned or cut"),
        ("a.yaml", ROS_MESSAGE.replace("binning_x: 0", "binning_x: two"), "a binned or cut"),
        ("a.yaml", ROS_MESSAGE.replace("458.654, 0.0,", "458.654, 2.0,"), "skew is not supported"),
        ("a.yaml", ROS_MESSAGE.replace("458.654", ".nan"), "expected 9 numbers"),
        ("a.yaml", "a: [1, 2\n", "not YAML ("),
        ("a.yaml", "hello: 1\n", "found hello, expected a camera of ROS"),
        ("a.yaml", "a: &x 1\nb: *x\n", "anchors and aliases"),
        ("cameras.txt", "1 THIN_PRISM_FISHEYE 752 480 1 2 3\n", "'THIN_PRISM_FISHEYE' is not"),
        ("cameras.txt", "1 PINHOLE 752 480 1 2 3\n", "PINHOLE has 3 parameters, expected 4"),
        ("a.yml", "%YAML:1.0\n---\nimage_width: 3\n", "found no camera_matrix"),
        ("a.yml", "%YAML:1.0\n---\ncamera_matrix: 3\n", "camera_matrix and distortion_coeff"),
        ("a.xml", '<?xml version="1.0"?>\n<svg></svg>\n', "OpenCV cannot read it (not a file of"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, problem: str
) -> None:
    (tmp_path / name).write_text(text)
    line = errors_of(["--import", str(tmp_path / name), "--output", str(tmp_path / "o")], capsys)
    assert problem in line and str(tmp_path / name) in line
    assert not (tmp_path / "o").exists()


def test_import_and_export_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera, back = tmp_path / "camera.json", tmp_path / "back.json"
    write_camera(camera, CAMERAS["fisheye"])
    ros, colmap = tmp_path / "ros.yaml", tmp_path / "cameras.txt"
    exports = ["--export", f"ros:{ros}", "--export", f"colmap:{colmap}"]
    assert program.main(["--calibration", str(camera), *exports]) == 0
    for path in (ros, colmap):
        assert program.main(["--import", str(path), "--output", str(back), "--json"]) == 0
        assert read_camera(back) == CAMERAS["fisheye"]
    told = capsys.readouterr().out
    assert (
        json.loads(told[told.index("{") : told.index("}\n{") + 1])["camera"]["model"] == "fisheye"
    )
    line = errors_of(["--calibration", str(camera), "--export", "yaml:x"], capsys)
    assert "expected FORMAT:FILE with a format of ros, kalibr, colmap, opencv" in line
    many = tmp_path / "chain.yaml"
    many.write_text(KALIBR)
    line = errors_of(["--import", str(many), "--output", str(back)], capsys)
    assert "found 2 cameras, expected one of them by --camera: cam0, cam1" in line
    with pytest.raises(SystemExit):
        program.main(["--export", "ros:x"])


def test_without_pyyaml_a_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.yaml").write_text(KALIBR)
    with pytest.raises(ConfigError, match=r"pip install 'edge-reloc\[calibration\]'"):
        read_cameras(tmp_path / "a.yaml")


def test_rotations_survive_a_round_trip(tmp_path: Path) -> None:
    turned = CAMERAS["radtan"].mounted(compose(so3_exp([0.3, -1.2, 2.0]), [0.1, 0.2, -0.3]))
    path = write_camera_as(f"kalibr:{tmp_path / 'k.yaml'}", turned)
    assert np.allclose(read_camera_of(path).mount, turned.mount, atol=1e-12)
