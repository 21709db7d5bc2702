"""A few frames laid out as each data set is published, with the convention of its own poses.

Written from the data sets' descriptions, not with the readers: a reader that turns a pose the
wrong way round does not agree with it.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_reloc.geometry.rigid import camera_centre, compose, invert, quat_from_rotation, so3_exp

WIDTH, HEIGHT = 64, 48
COUNT, FOCAL = 6, 60.0
MAPPED = 4  # the first ones, where a layout says which


def truth(index: int) -> np.ndarray:
    """cam_from_world of a frame."""
    return compose(so3_exp([0.2 * index - 0.3, 1.0 - 0.4 * index, 0.3]), [index, -0.5, 2.0])


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH), 128, np.uint8))
    return path


def matrix(path: Path, pose: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join("\t".join(f"{v:.9e}" for v in row) for row in pose) + "\n")


def words(values: object) -> str:
    return " ".join(repr(float(v)) for v in np.ravel(values))


def seven_scenes(folder: Path) -> str:
    scene = folder / "chess"
    for index in range(COUNT):
        sequence, number = (1, index) if index < MAPPED else (3, index - MAPPED)
        stem = scene / f"seq-{sequence:02d}" / f"frame-{number:06d}"
        photo(stem.with_name(stem.name + ".color.png"))
        matrix(stem.with_name(stem.name + ".pose.txt"), invert(truth(index)))
    (scene / "TrainSplit.txt").write_text("sequence1\n")
    (scene / "TestSplit.txt").write_text("sequence3\n")
    return f"7scenes:{scene}"


def seven_scenes_by_sfm(folder: Path) -> str:
    address, poses = seven_scenes(folder), folder / "pgt"
    poses.mkdir()
    lines = []
    for index in range(COUNT):
        sequence, number = (1, index) if index < MAPPED else (3, index - MAPPED)
        pose = truth(index)
        lines.append(
            f"seq-{sequence:02d}/frame-{number:06d}.color.png "
            f"{words(quat_from_rotation(pose[:3, :3]))} {words(pose[:3, 3])} {FOCAL}"
        )
    for path in (folder / "chess").glob("seq-*/*.pose.txt"):
        path.unlink()
    (poses / "chess_train.txt").write_text("\n".join(lines[:MAPPED]) + "\n")
    (poses / "chess_test.txt").write_text("\n".join(lines[MAPPED:]) + "\n")
    return f"{address}?reference={poses}"


def twelve_scenes(folder: Path) -> str:
    scene, asked = folder / "apt1" / "kitchen", COUNT - MAPPED
    for place in range(COUNT):  # the first sequence is for testing
        index = place + MAPPED if place < asked else place - asked
        stem = scene / "data" / f"frame-{place:06d}"
        photo(stem.with_name(stem.name + ".color.jpg"))
        matrix(stem.with_name(stem.name + ".pose.txt"), invert(truth(index)))
    lost = scene / "data" / f"frame-{COUNT:06d}"
    photo(lost.with_name(lost.name + ".color.jpg"))
    lost.with_name(lost.name + ".pose.txt").write_text("-1.#INF 0 0 0\n" + "0 0 0 0\n" * 3)
    end = asked - 1
    (scene / "split.txt").write_text(
        f"sequence0 [frames={asked}] [start=0 ; end={end}]\nsequence1 [frames=5]\n"
    )
    intrinsic = np.zeros((4, 4))
    intrinsic[0, 0] = intrinsic[1, 1] = FOCAL
    (scene / "info.txt").write_text(
        f"m_versionNumber = 4\nm_calibrationColorIntrinsic = {words(intrinsic)}\n"
    )
    return f"12scenes:{scene}"


def cambridge(folder: Path) -> str:
    scene, nvm = folder / "KingsCollege", [f"NVM_V3 \n\n{COUNT}"]
    lists = {"train": ["Visual Landmark Dataset V1", "ImageFile, Camera Position ...", ""]}
    lists["test"] = list(lists["train"])
    for index in range(COUNT):
        name, pose = f"seq1/frame{index:05d}", truth(index)
        photo(scene / f"{name}.png")
        quat, centre = words(quat_from_rotation(pose[:3, :3])), words(camera_centre(pose))
        nvm.append(f"{name}.jpg\t{FOCAL} {quat} {centre} -0.05 0")
        lists["train" if index < MAPPED else "test"].append(f"{name}.png {centre} {quat}")
    (scene / "reconstruction.nvm").write_text("\n".join([*nvm, "", "0", "0"]) + "\n")
    for split, lines in lists.items():
        (scene / f"dataset_{split}.txt").write_text("\n".join(lines) + "\n")
    return f"cambridge:{scene}"


def colmap_model(folder: Path, names: list[str], suffix: str = "") -> None:
    """A text model in COLMAP's own convention of pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    middle = f"{WIDTH / 2} {HEIGHT / 2}"
    (folder / "cameras.txt").write_text(f"1 SIMPLE_RADIAL {WIDTH} {HEIGHT} {FOCAL} {middle} 0\n")
    lines = []
    for index, name in enumerate(names):
        pose = truth(index)
        quat = words(quat_from_rotation(pose[:3, :3]))
        lines += [f"{index + 1} {quat} {words(pose[:3, 3])} 1 {name}{suffix}", ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def aachen_v11(folder: Path) -> str:
    scene = folder / "aachen"
    names = [f"db/{index}.jpg" for index in range(MAPPED)]
    asked = ["query/day/milestone/a.jpg", "query/night/nexus5x/b.jpg"]
    for name in (*names, *asked):
        photo(scene / "images_upright" / name)
    colmap_model(scene / "3D-models" / "aachen_v_1_1", names)
    (scene / "queries").mkdir()
    for time, name in zip(("day", "night"), asked, strict=True):
        camera = f"SIMPLE_RADIAL {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2} 0.0"
        path = scene / "queries" / f"{time}_time_queries_with_intrinsics.txt"
        path.write_text(f"{name} {camera}\n")
    return f"aachen:{scene}"


def aachen_v10(folder: Path) -> str:
    aachen_v11(folder)
    scene = folder / "aachen"
    model = scene / "3D-models" / "aachen_v_1_1"
    for path in model.iterdir():
        path.unlink()
    model.rmdir()
    nvm, cameras = [f"NVM_V3\n\n{MAPPED}"], []
    for index in range(MAPPED):
        pose = truth(index)
        quat, centre = words(quat_from_rotation(pose[:3, :3])), words(camera_centre(pose))
        nvm.append(f"./db/{index}.jpg {FOCAL} {quat} {centre} 0 0")
        cameras.append(
            f"db/{index}.jpg SIMPLE_RADIAL {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2} 0.0"
        )
    (scene / "3D-models" / "aachen_cvpr2018_db.nvm").write_text("\n".join(nvm) + "\n")
    (scene / "3D-models" / "database_intrinsics.txt").write_text("\n".join(cameras) + "\n")
    return f"aachen:{scene}"


def wayspots(folder: Path) -> str:
    scene = folder / "bears"
    for index in range(COUNT):
        split = scene / ("train" if index < MAPPED else "test")
        photo(split / "rgb" / f"{index:05d}.jpg")
        matrix(split / "poses" / f"{index:05d}.txt", invert(truth(index)))
        lens = np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
        (split / "calibration").mkdir(exist_ok=True)
        lines = "\n".join(words(row) for row in lens) if index % 2 else str(FOCAL)
        (split / "calibration" / f"{index:05d}.txt").write_text(lines + "\n")
    return f"wayspots:{scene}"


def indoor6(folder: Path) -> str:
    scene, names = folder / "scene1", [f"image-{i:06d}.color.jpg" for i in range(COUNT)]
    for index, name in enumerate(names):
        path = photo(scene / "images" / name)
        lens = f"{WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2} 0"
        path.with_name(name.replace("color.jpg", "intrinsics.txt")).write_text(lens + "\n")
        matrix(path.with_name(name.replace("color.jpg", "pose.txt")), truth(index)[:3])
    split = {"train": names[:MAPPED], "test": names[MAPPED:], "val": []}
    split |= {"train_idx": list(range(MAPPED)), "test_idx": [4, 5], "val_idx": []}
    (scene / "train_test_val.pkl").write_bytes(pickle.dumps(split))
    return f"indoor6:{scene}"


def _tum_sequence(folder: Path, indices: range) -> Path:
    names, poses = ["# color images"], ["# timestamp tx ty tz qx qy qz qw"]
    for index in indices:
        t_s = f"1305031102.{175304 + 33000 * index:06d}"
        photo(folder / "rgb" / f"{t_s}.png")
        names.append(f"{t_s} rgb/{t_s}.png")
        world_from_cam = invert(truth(index))
        quat = np.roll(quat_from_rotation(world_from_cam[:3, :3]), -1)
        late = f"1305031102.{175304 + 33000 * index + 4000:06d}"
        poses.append(f"{late} {words(world_from_cam[:3, 3])} {words(quat)}")
    (folder / "rgb.txt").write_text("\n".join(names) + "\n")
    (folder / "groundtruth.txt").write_text("\n".join(poses) + "\n")
    return folder


def tum(folder: Path) -> str:
    first = _tum_sequence(folder / "rgbd_dataset_freiburg1_desk", range(MAPPED))
    second = _tum_sequence(folder / "rgbd_dataset_freiburg1_desk2", range(MAPPED, COUNT))
    return f"tum:{first}?queries={second}"


def _euroc_sequence(folder: Path, indices: range) -> Path:
    body_from_cam = compose(so3_exp([0.0, 0.0, 1.55]), [-0.02, -0.06, 0.01])
    cam0, state = folder / "mav0" / "cam0", folder / "mav0" / "state_groundtruth_estimate0"
    names, poses = ["#timestamp [ns],filename"], ["#timestamp, p_RS_R_x [m], ..."]
    for index in indices:
        t_ns = 1403715273262142976 + 50_000_000 * index
        photo(cam0 / "data" / f"{t_ns}.png")
        names.append(f"{t_ns},{t_ns}.png")
        world_from_body = invert(truth(index)) @ invert(body_from_cam)
        numbers = [*world_from_body[:3, 3], *quat_from_rotation(world_from_body[:3, :3])]
        poses.append(f"{t_ns + 1000}," + ",".join(repr(float(v)) for v in numbers) + ",0,0,0")
    state.mkdir(parents=True)
    (cam0 / "data.csv").write_text("\n".join(names) + "\n")
    (state / "data.csv").write_text("\n".join(poses) + "\n")
    mount = ",\n         ".join(", ".join(repr(float(v)) for v in row) for row in body_from_cam)
    (cam0 / "sensor.yaml").write_text(
        "#Default imu0 sensor yaml file\nsensor_type: camera\nT_BS:\n  cols: 4\n  rows: 4\n"
        f"  data: [{mount}]\nrate_hz: 20\nresolution: [{WIDTH}, {HEIGHT}]\n"
        f"camera_model: pinhole\nintrinsics: [{FOCAL}, {FOCAL}, {WIDTH / 2 - 0.5}, "
        f"{HEIGHT / 2 - 0.5}] #fu, fv, cu, cv\ndistortion_model: radial-tangential\n"
        "distortion_coefficients: [-0.28, 0.07, 0.0002, 1.76e-05]\n"
    )
    return folder


def euroc(folder: Path) -> str:
    first = _euroc_sequence(folder / "V1_01_easy", range(MAPPED))
    second = _euroc_sequence(folder / "V1_02_medium", range(MAPPED, COUNT))
    return f"euroc:{first}?queries={second}"


def nerf(folder: Path) -> str:
    scene, splits = folder / "fox", {"train": range(MAPPED), "test": range(MAPPED, COUNT)}
    for split, indices in splits.items():
        frames = []
        for index in indices:
            photo(scene / "images" / f"{index:04d}.png")
            view = invert(truth(index)) @ np.diag([1.0, -1.0, -1.0, 1.0])  # y up, z back
            frames.append({"file_path": f"./images/{index:04d}", "transform_matrix": view.tolist()})
        values = {"camera_angle_x": 2 * float(np.arctan(0.5 * WIDTH / FOCAL)), "frames": frames}
        (scene / f"transforms_{split}.json").write_text(json.dumps(values))
    return f"nerf:{scene}"


def colmap(folder: Path) -> str:
    scene, names = folder / "place", [f"{index}.jpg" for index in range(COUNT)]
    for name in names:
        photo(scene / "images" / name)
    colmap_model(scene / "sparse" / "0", names)
    (scene / "queries.txt").write_text("\n".join(names[MAPPED:]) + "\n")
    return f"colmap:{scene}"


LAYOUTS: dict[str, Callable[[Path], str]] = {
    layout.__name__: layout
    for layout in (
        seven_scenes,
        seven_scenes_by_sfm,
        twelve_scenes,
        cambridge,
        aachen_v11,
        aachen_v10,
        wayspots,
        indoor6,
        tum,
        euroc,
        nerf,
        colmap,
    )
}
