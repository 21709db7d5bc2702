"""Kalibr's camchain files. Pixels as ours: the centre of the top-left pixel is (0, 0)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import invert

from .text import camera, entry, numbers, row

#: distortion model -> ours
MODELS = {"radtan": "opencv", "equidistant": "fisheye", "equi": "fisheye", "none": "pinhole"}
ROTATION_OFF = 1e-3


def is_one(values: Mapping[str, Any]) -> bool:
    """Whether this is a camchain."""
    return any(re.fullmatch(r"cam\d+", str(key)) for key in values)


def cameras_of(values: Mapping[str, Any], where: str) -> dict[str, Camera]:
    """Every camera; with `T_cam_imu` it has its mount, the IMU being the body."""
    found = {}
    for name, entries in values.items():
        if re.fullmatch(r"cam\d+", str(name)):
            if not isinstance(entries, dict):
                raise CameraError(f"{where}: {name}: expected camera_model and intrinsics")
            found[str(name)] = _camera_of(entries, f"{where}: {name}")
    return found


def _camera_of(values: Mapping[str, Any], where: str) -> Camera:
    projection = str(values.get("camera_model", ""))
    if projection != "pinhole":
        raise CameraError(
            f"{where}: found camera_model '{projection}', expected pinhole (with radtan or "
            f"equidistant distortion); calibrate again with pinhole-radtan or pinhole-equi"
        )
    model = str(values.get("distortion_model", "none"))
    if model not in MODELS:
        raise CameraError(
            f"{where}: found distortion_model '{model}', expected one of {', '.join(MODELS)}"
        )
    fx, fy, cx, cy = numbers(entry(values, ("intrinsics",), where), 4, "intrinsics", where)
    width, height = numbers(entry(values, ("resolution",), where), 2, "resolution", where)
    bend: list[float] = []
    if model != "none":
        bend = numbers(entry(values, ("distortion_coeffs",), where), 4, "coeffs", where).tolist()
    mount = {}
    if "T_cam_imu" in values:
        cam_from_imu = rigid(values["T_cam_imu"], "T_cam_imu", where)
        mount["body_from_cam"] = tuple(tuple(r) for r in invert(cam_from_imu).tolist())
    return camera(
        where,
        model=MODELS[model],
        width=int(width),
        height=int(height),
        fx=float(fx),
        fy=float(fy),
        cx=float(cx),
        cy=float(cy),
        distortion=tuple(bend),
        **mount,
    )


def text_of(one: Camera, name: str) -> str:
    """A camchain of one camera; CameraError for a lens with more than four coefficients."""
    if one.model == "opencv" and any(one.distortion[4:]):
        raise CameraError(
            "kalibr: its radtan has k1 k2 p1 p2 only, and this camera has more; export to ros, "
            "colmap or opencv"
        )
    model = "equidistant" if one.model == "fisheye" else "radtan"
    bend = [*one.distortion[:4], *[0.0] * (4 - len(one.distortion[:4]))]
    lines = [
        "cam0:",
        "  cam_overlaps: []",
        "  camera_model: pinhole",
        f"  distortion_coeffs: {row(bend)}",
        f"  distortion_model: {model}",
        f"  intrinsics: {row([one.fx, one.fy, one.cx, one.cy])}",
        f"  resolution: [{one.width}, {one.height}]",
        f"  rostopic: /{name}/image_raw",
    ]
    if one.body_from_cam is not None:
        lines.append("  T_cam_imu:")
        lines += [f"  - {row(r)}" for r in invert(np.array(one.body_from_cam)).tolist()]
    return "\n".join(lines) + "\n"


def rigid(value: Any, what: str, where: str) -> F64:
    """A (4,4) rigid transform; CameraError for what is none."""
    matrix = numbers(value, 16, what, where).reshape(4, 4)
    turn = matrix[:3, :3]
    off = np.abs(turn @ turn.T - np.eye(3)).max()
    if off > ROTATION_OFF or np.linalg.det(turn) < 0 or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise CameraError(f"{where}: {what} is no rigid transform (rotation off by {off:.2g})")
    u, _, vt = np.linalg.svd(turn)
    matrix[:3, :3] = u @ vt
    return matrix
