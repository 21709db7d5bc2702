"""ROS: `camera_info` files (camera_calibration_parsers), the message as text, static transforms.

Pixels as ours: the centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, rotation_from_quat

from .text import camera, entry, numbers, row

#: distortion model -> ours, and how many coefficients it may have
MODELS = {
    "plumb_bob": ("opencv", (0, 4, 5)),
    "rational_polynomial": ("opencv", (8,)),
    "equidistant": ("fisheye", (4,)),
    "fisheye": ("fisheye", (4,)),
    "": ("pinhole", (0,)),
    "none": ("pinhole", (0,)),
}


def is_one(values: Mapping[str, Any]) -> bool:
    """Whether this is a camera_info file or message."""
    return "camera_matrix" in values or bool({"k", "K"} & set(values))


def camera_of(values: Mapping[str, Any], where: str) -> Camera:
    """The camera of a camera_info; a binned or cut message is refused."""
    _check_whole(values, where)
    model = str(values.get("distortion_model", "plumb_bob") or "")
    if model not in MODELS:
        raise CameraError(
            f"{where}: found distortion_model '{model}', expected one of "
            f"{', '.join(name for name in MODELS if name)}"
        )
    target, counts = MODELS[model]
    matrix = _data(entry(values, ("camera_matrix", "k", "K"), where), 9, "camera_matrix", where)
    bend = entry(values, ("distortion_coefficients", "d", "D"), where)
    distortion = _data(bend, counts, "distortion_coefficients", where)
    if matrix[1] or matrix[3] or matrix[6] or matrix[7] or matrix[8] != 1:
        raise CameraError(f"{where}: a camera_matrix with skew is not supported")
    return camera(
        where,
        model=target if distortion.any() else "pinhole" if target == "opencv" else target,
        width=_pixels(values, "width", where),
        height=_pixels(values, "height", where),
        fx=float(matrix[0]),
        fy=float(matrix[4]),
        cx=float(matrix[2]),
        cy=float(matrix[5]),
        distortion=tuple(distortion.tolist()) if distortion.any() else (),
    )


def text_of(one: Camera, name: str) -> str:
    """A camera_info file."""
    model, bend = _distortion(one)
    k = [one.fx, 0, one.cx, 0, one.fy, one.cy, 0, 0, 1]
    p = [one.fx, 0, one.cx, 0, 0, one.fy, one.cy, 0, 0, 0, 1, 0]
    return (
        f"image_width: {one.width}\nimage_height: {one.height}\ncamera_name: {name}\n"
        + _matrix("camera_matrix", 3, 3, k)
        + f"distortion_model: {model}\n"
        + _matrix("distortion_coefficients", 1, len(bend), bend)
        + _matrix("rectification_matrix", 3, 3, np.eye(3).ravel().tolist())
        + _matrix("projection_matrix", 3, 4, p)
    )


def transforms_of(values: Mapping[str, Any], where: str) -> dict[tuple[str, str], F64] | None:
    """(4,4) parent_from_child by both frames' names; None where the file has no transform."""
    listed = values.get("transforms", [values] if "transform" in values else None)
    if listed is None:
        return None
    found = {}
    for stamped in listed if isinstance(listed, list) else []:
        try:
            parent = str(stamped["header"]["frame_id"])
            child = str(stamped["child_frame_id"])
            turn, shift = stamped["transform"]["rotation"], stamped["transform"]["translation"]
            quaternion = [turn[axis] for axis in "wxyz"]
            position = [shift[axis] for axis in "xyz"]
        except (KeyError, TypeError):
            raise CameraError(
                f"{where}: expected geometry_msgs/TransformStamped: header.frame_id, "
                f"child_frame_id, transform.translation and transform.rotation"
            ) from None
        wxyz = numbers(quaternion, 4, "rotation", where)
        if not 0.99 < np.linalg.norm(wxyz) < 1.01:
            raise CameraError(
                f"{where}: found rotation {wxyz.tolist()}, expected a unit quaternion"
            )
        xyz = numbers(position, 3, "translation", where)
        found[parent, child] = compose(rotation_from_quat(wxyz), xyz)
    return found


def _check_whole(values: Mapping[str, Any], where: str) -> None:
    roi = values.get("roi") or {}
    cut = isinstance(roi, dict) and any(roi.get(k) for k in ("x_offset", "y_offset"))
    binned = any(values.get(k) not in (None, 0, 1) for k in ("binning_x", "binning_y"))
    if cut or binned:
        raise CameraError(
            f"{where}: a binned or cut camera_info is not read; take the full image's"
        )


def _pixels(values: Mapping[str, Any], side: str, where: str) -> int:
    name = f"image_{side}"
    return int(numbers(entry(values, (name, side), where), 1, name, where)[0])


def _data(value: Any, counts: Any, what: str, where: str) -> F64:
    if isinstance(value, dict):
        value = value.get("data")
    return numbers([] if value is None else value, counts, what, where)


def _distortion(one: Camera) -> tuple[str, list[float]]:
    if one.model == "fisheye":
        return "equidistant", list(one.distortion)
    if any(one.distortion[5:]):
        return "rational_polynomial", list(one.distortion)
    return "plumb_bob", [*one.distortion[:5], *[0.0] * (5 - len(one.distortion[:5]))]


def _matrix(name: str, rows: int, cols: int, values: list[float]) -> str:
    return f"{name}:\n  rows: {rows}\n  cols: {cols}\n  data: {row(values)}\n"
