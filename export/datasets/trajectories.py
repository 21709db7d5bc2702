"""TUM RGB-D and EuRoC: sequences with a trajectory of a motion capture system.

TUM RGB-D: Sturm et al., IROS 2012, https://cvg.cit.tum.de/data/datasets/rgbd-dataset.
EuRoC: Burri et al., IJRR 2016, https://projects.asl.ethz.ch/datasets/euroc-mav.
Both are for odometry and have no split for relocalisation: a sequence is mapped, and another one
of the same room is localised (`queries=FOLDER`); without it, one block of frames in four.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import SourceError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, invert

from .pose_files import Row, nearest_pose, numbers, place, rotation, rows, whole, word
from .scene import FINE, Scene, Shot, every_block, need, size_of

NEAR_NS = 20_000_000  # a frame and its reference pose
BLOCK, PERIOD = 30, 4
# Of the colour cameras of TUM's three Kinects: fx fy cx cy, k1 k2 p1 p2 k3.
TUM_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3, 0.2624, -0.9531, -0.0054, 0.0026, 1.1633),
    "freiburg2": (520.9, 521.0, 325.1, 249.7, 0.2312, -0.7849, -0.0033, -0.0001, 0.9172),
    "freiburg3": (535.4, 539.2, 320.1, 247.6, 0.0, 0.0, 0.0, 0.0, 0.0),
}


def tum_rgbd(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `rgbd_dataset_freiburg1_desk`, with rgb.txt and groundtruth.txt."""
    return _split(folder, options, _tum_sequence)


def euroc(folder: Path, options: dict[str, str]) -> Scene:
    """A folder such as `V1_01_easy`, with mav0/cam0 and mav0/state_groundtruth_estimate0."""
    return _split(folder, options, _euroc_sequence)


def _split(folder: Path, options: dict[str, str], sequence: Callable[[Path], list[Shot]]) -> Scene:
    shots = sequence(folder)
    if "queries" in options:
        mapping, queries = shots, sequence(Path(options["queries"]).resolve())
    else:
        mapping, queries = every_block(shots, BLOCK, PERIOD)
    return Scene(name=folder.name, mapping=mapping, queries=queries, metric=True, thresholds=FINE)


def _tum_sequence(folder: Path) -> list[Shot]:
    kinect = next((name for name in TUM_CAMERAS if name in folder.name), None)
    if kinect is None:
        raise SourceError(
            f"{folder}: its name does not tell the camera; expected one of {', '.join(TUM_CAMERAS)}"
        )
    truth = rows(need(folder / "groundtruth.txt", "a sequence of TUM RGB-D has it"))
    stamps = np.array([_of_seconds(row) for row in truth])
    fx, fy, cx, cy, *distortion = TUM_CAMERAS[kinect]
    shots = []
    for row in rows(need(folder / "rgb.txt", "a sequence of TUM RGB-D has it")):
        at = _nearest(stamps, _of_seconds(row))
        if at is None:
            continue
        values = numbers(truth[at], 1, 7, "time tx ty tz qx qy qz qw")
        photo = word(row, 1, "time photo")
        path = folder / photo
        size = size_of(need(path, "unpack all of it"))
        camera = Camera(
            model="opencv",
            width=size.width,
            height=size.height,
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            distortion=tuple(distortion),
        )
        turned = rotation(truth[at], np.roll(values[3:], 1))
        shots.append(
            Shot(
                name=f"{folder.name}/{photo}",
                path=path,
                camera=camera,
                cam_from_world=invert(compose(turned, place(truth[at], values[:3]))),
            )
        )
    return shots


def _euroc_sequence(folder: Path) -> list[Shot]:
    cam0 = need(folder / "mav0/cam0", "a sequence of EuRoC has mav0/cam0")
    camera, body_from_cam = _euroc_camera(need(cam0 / "sensor.yaml", "it has the calibration"))
    truth_file = folder / "mav0/state_groundtruth_estimate0/data.csv"
    truth = rows(need(truth_file, "a sequence of EuRoC has it"), separator=",")
    stamps = np.array([_of_nanoseconds(row) for row in truth])
    shots = []
    for row in rows(need(cam0 / "data.csv", "it names the frames"), separator=","):
        at = _nearest(stamps, _of_nanoseconds(row))
        if at is None:
            continue
        photo = word(row, 1, "time,photo")
        values = numbers(truth[at], 1, 7, "time x y z qw qx qy qz")
        turned = rotation(truth[at], values[3:])
        world_from_body = compose(turned, place(truth[at], values[:3]))
        shots.append(
            Shot(
                name=f"{folder.name}/{photo}",
                path=cam0 / "data" / photo,
                camera=camera,
                cam_from_world=invert(world_from_body @ body_from_cam),
            )
        )
    return shots


def _euroc_camera(path: Path) -> tuple[Camera, F64]:
    """Camera and `body_from_cam` of a sensor.yaml: flat lists, so that no parser is needed."""
    text = "".join(f"{' '.join(row.words)}\n" for row in rows(path))
    width, height = _yaml_list(text, "resolution", 2, path)
    fx, fy, cx, cy = _yaml_list(text, "intrinsics", 4, path)
    distortion = _yaml_list(text, "distortion_coefficients", 4, path)
    mount = nearest_pose(np.array(_yaml_list(text, "data", 16, path)).reshape(4, 4))
    if mount is None:
        raise SourceError(f"{path}: data: expected a pose, four rows of four numbers")
    camera = Camera(
        model="opencv",
        width=int(width),
        height=int(height),
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        distortion=tuple(distortion),
    )
    return camera, mount


def _yaml_list(text: str, key: str, count: int, path: Path) -> list[float]:
    _, found, rest = text.partition(f"{key}:")
    inside = rest.partition("[")[2].partition("]")[0]
    try:
        values = [float(word) for word in inside.replace("\n", " ").split(",")]
    except ValueError:
        values = []
    if not found or len(values) != count or not np.isfinite(values).all():
        raise SourceError(f"{path}: expected {key}: [{count} numbers]")
    return values


def _nearest(stamps: F64, t_ns: int) -> int | None:
    """Row of the reference pose of a time; None where there is none near it."""
    if not len(stamps):
        return None
    at = int(np.argmin(np.abs(stamps - t_ns)))
    return at if abs(int(stamps[at]) - t_ns) <= NEAR_NS else None


def _of_seconds(row: Row) -> int:
    """Nanoseconds of TUM's times, whose digits a float would not hold."""
    seconds, _, part = row.words[0].partition(".")
    digits = (seconds or "0") + part.ljust(9, "0")[:9]
    return whole(digits if part.isdecimal() or not part else "", row.where, "a time in seconds")


def _of_nanoseconds(row: Row) -> int:
    return whole(row.words[0], row.where, "a time in nanoseconds")
