"""Camera files of others: ROS, Kalibr, COLMAP and OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError, ConfigError
from edge_reloc.files import read_small, write_atomic
from edge_reloc.geometry.camera import Camera

from . import colmap, kalibr, opencv, ros
from .text import load_yaml

WRITERS: dict[str, Callable[[Camera, str], str]] = {
    "ros": ros.text_of,
    "kalibr": kalibr.text_of,
    "colmap": colmap.text_of,
    "opencv": opencv.text_of,
}


def read_cameras(path: str | Path) -> dict[str, Camera]:
    """Every camera of another program's file, by its name there. Raises CameraError."""
    text = _text_of(path)
    where = str(path)
    if opencv.is_one(text):
        return {"camera": opencv.camera_of(text, where)}
    if colmap.is_one(text):
        return colmap.cameras_of(text, where)
    values = _yaml_of(text, where)
    if kalibr.is_one(values):
        return kalibr.cameras_of(values, where)
    if ros.is_one(values):
        name = str(values.get("camera_name") or "camera")
        return {name: ros.camera_of(values, where)}
    raise CameraError(
        f"{where}: found {_keys(values)}, expected a camera of ROS (camera_info), Kalibr (camN), "
        f"COLMAP (cameras.txt) or OpenCV (camera_matrix)"
    )


def read_camera_of(path: str | Path, name: str | None = None) -> Camera:
    """The camera `name` of another program's file, which may be left out where it has one."""
    cameras = read_cameras(path)
    if name is None and len(cameras) == 1:
        return next(iter(cameras.values()))
    if name not in cameras:
        found = f"no camera '{name}'" if name else f"{len(cameras)} cameras"
        raise CameraError(
            f"{path}: found {found}, expected one of them by --camera: {', '.join(cameras)}"
        )
    return cameras[name]


def read_transforms(path: str | Path) -> dict[tuple[str, str], F64] | None:
    """Static transforms of ROS, (4,4) parent_from_child by both names; None for another file."""
    text = _text_of(path)
    if opencv.is_one(text) or colmap.is_one(text):
        return None
    return ros.transforms_of(_yaml_of(text, str(path)), str(path))


def write_camera_as(target: str, camera: Camera, name: str = "camera") -> Path:
    """Write FORMAT:FILE, format one of WRITERS. Raises ConfigError, CameraError or DiskError."""
    kind, path = split_target(target)
    write_atomic(path, WRITERS[kind](camera, name))
    return path


def split_target(target: str) -> tuple[str, Path]:
    """Format and file of FORMAT:FILE. Raises ConfigError."""
    kind, _, path = target.partition(":")
    if kind not in WRITERS or not path:
        raise ConfigError(
            f"--export {target}: expected FORMAT:FILE with a format of {', '.join(WRITERS)}, for "
            f"example ros:camera.yaml"
        )
    return kind, Path(path)


def _text_of(path: str | Path) -> str:
    try:
        return read_small(path).decode("utf-8-sig")
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CameraError(f"{path}: no text; COLMAP's cameras are read from cameras.txt") from None


def _yaml_of(text: str, where: str) -> Mapping[str, Any]:
    values = load_yaml(text, where)
    if not isinstance(values, dict):
        raise CameraError(f"{where}: no camera file of ROS, Kalibr, COLMAP or OpenCV")
    return values


def _keys(values: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in list(values)[:6]) or "nothing"
