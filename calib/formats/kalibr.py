"""Kalibr's camchain files. Pixels as ours: the centre of the top-left pixel is (0, 0)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edge_reloc.arrays import F64
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import RIGID, invert, rigid

from .text import camera, entry, numbers, row

#: distortion model -> ours
MODELS = {"radtan": "opencv", "equidistant": "fisheye", "equi": "fisheye", "none": "pinhole"}


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
        coefficients = entry(values, ("distortion_coeffs",), where)
        bend = numbers(coefficients, 4, "distortion_coeffs", where).tolist()
    found = camera(
        where,
        model=MODELS[model],
        width=int(width),
        height=int(height),
        fx=float(fx),
        fy=float(fy),
        cx=float(cx),
        cy=float(cy),
        distortion=tuple(bend),
    )
    if "T_cam_imu" in values:
        found = found.mounted(invert(_rigid(values["T_cam_imu"], "T_cam_imu", where)))
    return found


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
    if one.mount is not None:
        lines.append("  T_cam_imu:")
        lines += [f"  - {row(r)}" for r in invert(one.mount).tolist()]
    return "\n".join(lines) + "\n"


def _rigid(value: Any, what: str, where: str) -> F64:
    """A (4,4) rigid transform; CameraError for what is none."""
    matrix = rigid(value)
    if matrix is None:
        raise CameraError(f"{where}: {what}: expected {RIGID}")
    return matrix
