"""Files of others that lie, are damaged or are no files: one line each, at once, in little memory.

Whatever bundles hold is fuzzed (tests/fuzz); here are the other files that programs read.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_reloc import files
from edge_reloc.errors import EdgeRelocError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.mount import read_mount
from edge_reloc.geometry.rigid import quaternion, rigid
from edge_reloc.reference.colmap import read_model
from edge_reloc.running.rig import read_rig
from edge_reloc.sources.recording_file import Recording
from edge_reloc.sources.video_file import MOST_BOXES, promised_bytes
from edge_reloc_calib.formats import read_cameras, read_transforms
from edge_reloc_calib.latency import read_gyro
from edge_reloc_calib.trajectory import read_trajectory
from edge_reloc_export.benchmark.answers import read_answers
from edge_reloc_export.benchmark.steps import Steps
from edge_reloc_export.datasets.models import nerf
from edge_reloc_export.datasets.phones import indoor6
from edge_reloc_export.datasets.pose_files import quaternion_list
from edge_reloc_export.datasets.trajectories import _euroc_camera, euroc, tum_rgbd
from edge_reloc_export.kept_files import read_arrays, read_object
from edge_reloc_export.scene.model import load_model
from edge_reloc_export.world_frame.april_tags import read_tags
from edge_reloc_export.world_frame.control_points import read_gcp_list

Read = Callable[[Path], object]
BIG = "1" + "0" * 400  # an integer that no float holds
LONG = "1" * 5000  # more digits than Python converts
EYE = "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]"
RADTAN = (
    "cam0:\n  camera_model: pinhole\n  intrinsics: [%s,500,320,240]\n  distortion_model: none\n"
    "  resolution: [640,480]\n"
)
OPENCV = "%YAML:1.0\n---\na: "


def refused(read: Read, path: Path) -> None:
    with pytest.raises(EdgeRelocError) as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("read", "name", "content"),
    [
        (read_cameras, "a.yaml", RADTAN % BIG),
        (read_cameras, "a.yaml", RADTAN % "500" + f"  T_cam_imu: [[{BIG}]]\n"),
        (read_cameras, "a.yaml", "cam0: !!int ''\n"),
        (read_cameras, "a.yaml", "cam0: !!bool x\n"),
        (read_cameras, "a.yaml", "cam0: !!timestamp x\n"),
        (read_cameras, "a.yaml", "a: 1\n" * 200_000),
        (read_cameras, "a.yaml", "[" * 100_000),
        (read_cameras, "a.yaml", OPENCV + "[" * 100_000),  # its parser ran out of stack
        (read_cameras, "a.yaml", OPENCV + "{a: " * 30_000),
        (read_cameras, "a.yaml", OPENCV + "- " * 100_000),
        (read_cameras, "a.yaml", OPENCV + "-" * 100_000),
        (read_cameras, "a.yaml", OPENCV + "a: " * 100_000),
        (read_cameras, "a.xml", '<?xml version="1.0"?>\n<opencv_storage>' + "<a>" * 40_000),
        (
            read_transforms,
            "a.yaml",
            "header: {frame_id: a}\nchild_frame_id: b\ntransform: {rotation: "
            f"{{w: {BIG}, x: 0, y: 0, z: 0}}, translation: {{x: 0, y: 0, z: 0}}}}\n",
        ),
        (lambda p: read_mount(str(p)), "a.json", EYE.replace("1", BIG, 1)),
        (read_rig, "a.json", json.dumps({"cameras": [{"name": "a", "source": "0", "x": 1}]})),
        (read_gyro, "a.csv", f"t_ns,wx,wy,wz\n{BIG},0,0,0\n"),
        (read_gyro, "a.csv", "t_ns,wx,wy,wz\n1,nan,0,0\n"),
        (read_gyro, "a.csv", 't_ns,wx,wy,wz\n"' + "1" * 200_000 + '",0,0,0\n'),
        (read_trajectory, "a.tum", "1 0 0 0 1e-320 0 0 0\n2 0 0 0 0 0 0 1\n"),
        (read_trajectory, "a.tum", "1 1e308 0 0 0 0 0 1\n2 0 0 0 0 0 0 1\n"),
        (read_trajectory, "a.jsonl", '["cam_from_world"]\n'),
        (read_gcp_list, "a.txt", f"EPSG:{LONG}\n1 2 3 4 5 a\n"),
        (lambda p: read_tags(p, 1.0), "a.csv", "id,x,y,z\n²,1,2,3\n"),
        (lambda p: read_tags(p, 1.0), "a.csv", "id,x,y,z\n7,1,2,3\n07,1,2,3\n"),
        (quaternion_list, "a.txt", "a 0 0 0 0 0 0 0\n"),
        (quaternion_list, "a.txt", "a 1 0 0 0 1e300 0 0\n"),
        (read_answers, "a.jsonl", "[" * 100_000),
        (
            read_answers,
            "a.jsonl",
            '{"name":"a","status":"OK","covariance":null,"candidates":1,"stages_ms":{},'
            f'"cam_from_world":{EYE.replace("1", "NaN", 1)}}}\n',
        ),
        (lambda p: Steps(p.parent), "steps.json", '{"a":{"after":5}}'),
        (lambda p: Steps(p.parent), "steps.json", "[" * 100_000),
        (read_object, "a.json", "[]"),
    ],
)
def test_numbers_and_nesting_beyond_all_bounds(
    tmp_path: Path, read: Read, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    refused(read, tmp_path / name)


def test_a_camera_file_with_all_corners_that_it_was_made_of_is_read(tmp_path: Path) -> None:
    """As OpenCV's calibration sample writes them: half a megabyte for 200 photos."""
    path = tmp_path / "a.yaml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 64)
    storage.write("image_height", 48)
    storage.write("camera_matrix", np.diag([50.0, 50.0, 1.0]))
    storage.write("distortion_coefficients", np.zeros(5))
    storage.write("image_points", np.linspace(-1, 1, 200 * 54 * 2).reshape(200, 54, 2) / 3)
    storage.release()
    assert path.stat().st_size > 400_000
    assert read_cameras(path)["camera"].fx == 50


@pytest.mark.parametrize(
    "read",
    [
        read_camera,
        read_cameras,
        read_gyro,
        read_trajectory,
        read_rig,
        read_object,
        read_arrays,
        Recording,
        load_model,
    ],
)
@pytest.mark.parametrize("what", ["pipe", "folder", "endless"])
def test_what_is_no_file_keeps_nobody_waiting(
    tmp_path: Path, read: Read, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.05)
    path = tmp_path / "it.tum"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    refused(read, path)


def colmap(
    folder: Path,
    *,
    keypoints: int = 1,
    quat: tuple[float, ...] = (1, 0, 0, 0),
    xyz: tuple[float, ...] = (1, 1, 1),
    track: int = 1,
    images: int = 1,
) -> Path:
    """A binary model whose counts may lie."""
    pack = struct.pack
    camera = pack("<QiiQQ4d", 1, 1, 1, 640, 480, 500, 500, 320, 240)
    image = pack("<I7dI", 1, *quat, 0, 0, 0, 1) + b"a.jpg\0" + pack("<Qddq", keypoints, 1, 1, 1)
    second = pack("<I", 2) + image[4:] if images == 2 else b""
    point = pack("<QQ3d3BdQII", 1, 1, *xyz, 0, 0, 0, 0.0, track, 1, 0)
    (folder / "cameras.bin").write_bytes(camera)
    (folder / "images.bin").write_bytes(pack("<Q", images) + image + second)
    (folder / "points3D.bin").write_bytes(point)
    return folder


@pytest.mark.parametrize(
    "lie",
    [
        {"keypoints": 2**64 - 1},
        {"keypoints": 2**63},
        {"keypoints": 2**60},
        {"track": 2**62},
        {"quat": (1e-320, 0, 0, 0)},
        {"quat": (1e308, 1e308, 1e308, 1e308)},
        {"xyz": (float("nan"), 0, 0)},
        {"xyz": (1e300, 0, 0)},
        {"images": 2},  # both of one name
    ],
)
def test_binary_models_that_lie(tmp_path: Path, lie: dict[str, Any]) -> None:
    assert read_model(colmap(tmp_path)).points[1].tolist() == [1, 1, 1]
    refused(read_model, colmap(tmp_path, **lie))


@pytest.mark.parametrize("point", ["inf", "nan", "1e30", LONG])
def test_text_models_name_points_by_numbers(tmp_path: Path, point: str) -> None:
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
    (tmp_path / "images.txt").write_text(f"1 1 0 0 0 0 0 0 1 a.jpg\n1 1 {point}\n")
    refused(read_model, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"camera_angle_x": 0},
        {"fl_x": int(BIG)},
        {"matrix": [1, 2, 3]},
        {"matrix": 5},
        {"matrix": [[int(BIG), 0, 0, 0]] * 4},
        {"matrix": [[float("nan"), 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        {"path": "pipe"},
    ],
)
def test_nerf_scenes_that_lie(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">2I5B", 64, 48, 8, 0, 0, 0, 0)
    )
    os.mkfifo(tmp_path / "pipe.png")
    values: dict[str, Any] = {"fl_x": 50.0, **change}
    if "camera_angle_x" in change:
        del values["fl_x"]
    matrix = values.pop("matrix", json.loads(EYE))
    values["frames"] = [{"file_path": values.pop("path", "a"), "transform_matrix": matrix}]
    (tmp_path / "transforms.json").write_text(json.dumps(values))
    refused(lambda folder: nerf(folder, {}), tmp_path)


@pytest.mark.parametrize("stamp", [LONG, "1" * 20, "1" * 400, "²"])
def test_times_that_no_clock_shows(tmp_path: Path, stamp: str) -> None:
    folder = tmp_path / "rgbd_dataset_freiburg1_x"
    folder.mkdir()
    (folder / "groundtruth.txt").write_text("1 0 0 0 0 0 0 1\n")
    (folder / "rgb.txt").write_text(f"{stamp} a.png\n")
    refused(lambda path: tum_rgbd(path, {}), folder)


SENSOR = (
    "resolution: [64, 48]\nintrinsics: [50, 50, 31.5, 23.5]\n"
    "distortion_coefficients: [0, 0, 0, 0]\n"
    "data: [0.0149, -0.9999, 0.0041, 0.1, 0.9996, 0.0150, 0.0257, 0, -0.0258, 0.0038, 0.9997, 0,"
    " 0, 0, 0, 1]\n"
)


def test_a_sensor_with_a_mount_in_few_digits_is_read(tmp_path: Path) -> None:
    (tmp_path / "sensor.yaml").write_text(SENSOR)
    camera, mount = _euroc_camera(tmp_path / "sensor.yaml")
    assert camera.width == 64 and rigid(mount) is not None and mount[0, 3] == 0.1


@pytest.mark.parametrize(("one", "other"), [("64,", "nan,"), ("0.9999", "0.5"), ("0.1", "1e30")])
def test_a_sensor_without_a_size_or_a_mount(tmp_path: Path, one: str, other: str) -> None:
    cam0 = tmp_path / "mav0/cam0"
    cam0.mkdir(parents=True)
    truth = tmp_path / "mav0/state_groundtruth_estimate0"
    truth.mkdir()
    (truth / "data.csv").write_text("1,0,0,0,1,0,0,0\n")
    (cam0 / "data.csv").write_text("1,a.png\n")
    (cam0 / "sensor.yaml").write_text(SENSOR.replace(one, other, 1))
    refused(lambda path: euroc(path, {}), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x0f.",  # number 268,435,455 of a table, which took 4 GB
        b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.",
        pickle.dumps({"train": "ab", "test": []}),
    ],
)
def test_a_pickle_runs_nothing_and_takes_no_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train_test_val.pkl").write_bytes(content)
    refused(lambda path: indoor6(path, {}), tmp_path)


def test_a_quaternion_has_a_direction() -> None:
    assert quaternion([0, 0, 0, 3.0]) is not None
    for none in ([0, 0, 0, 0], [1e-300, 0, 0, 0], [1e300, 0, 0, 0], [1, 2, 3], [int(BIG), 0, 0, 0]):
        assert quaternion(none) is None
    assert rigid(EYE.replace("1", BIG)) is None


def test_a_video_of_empty_boxes_takes_no_minutes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x08free" * (MOST_BOXES + 5))
    assert promised_bytes(path) == path.stat().st_size
