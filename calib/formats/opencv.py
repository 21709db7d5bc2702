"""OpenCV's FileStorage (YAML, XML), with the names of its calibration sample.

Pixels as ours: the centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

import re
from typing import Any

import cv2

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera

from .text import camera, numbers, row

MATRIX = ("camera_matrix", "cameraMatrix", "Camera_Matrix", "CameraMatrix", "K", "M1")
BEND = (
    *("distortion_coefficients", "distCoeffs", "dist_coeffs", "distortion_coeffs"),
    *("Distortion_Coefficients", "DistortionCoefficients", "D", "D1"),
)
#: what opens a list or an object in its formats; a minus before a number does not
OPENERS = re.compile(r"[\[{<:]|-(?![\d.])")
MOST_OPENERS = 4096  # its parser calls itself for each that is open, until the stack ends
SIZES = (("image_width", "image_Width", "width"), ("image_height", "image_Height", "height"))


def is_one(text: str) -> bool:
    """Whether OpenCV wrote this."""
    start = text.lstrip()
    return start.startswith(("%YAML:1.", "<?xml")) or "opencv-matrix" in text


def camera_of(text: str, where: str) -> Camera:
    """The camera of a file of OpenCV's."""
    try:
        return _camera_of(text, where)
    except (cv2.error, SystemError) as error:  # the latter from within a constructor of OpenCV's
        problem = getattr(error, "err", "") or "not a file of its FileStorage"
        raise CameraError(
            f"{where}: OpenCV cannot read it ({problem[:80]}); expected image_width, image_height, "
            f"and camera_matrix and distortion_coefficients as matrices"
        ) from None


def _camera_of(text: str, where: str) -> Camera:
    if len(OPENERS.findall(text)) > MOST_OPENERS:
        raise CameraError(
            f"{where}: more than {MOST_OPENERS} lists and objects, expected those of one camera"
        )
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    matrix = numbers(_matrix(storage, MATRIX, where), 9, "camera_matrix", where)
    bend = numbers(
        _matrix(storage, BEND, where), (0, 4, 5, 8, 12, 14), "distortion_coefficients", where
    )
    width, height = _size(storage, where)
    if matrix[1]:
        raise CameraError(f"{where}: a camera_matrix with skew is not supported")
    if bend[8:].any():
        raise CameraError(f"{where}: thin-prism and tilted lenses (12, 14 terms) are not supported")
    fisheye = not (node := storage.getNode("fisheye_model")).empty() and node.real() > 0
    if fisheye and len(bend) != 4:
        raise CameraError(f"{where}: a fisheye has 4 distortion coefficients, found {len(bend)}")
    model = "fisheye" if fisheye else "opencv" if bend.any() else "pinhole"
    return camera(
        where,
        model=model,
        width=width,
        height=height,
        fx=float(matrix[0]),
        fy=float(matrix[4]),
        cx=float(matrix[2]),
        cy=float(matrix[5]),
        distortion=() if model == "pinhole" else tuple(bend[:8].tolist()),
    )


def text_of(one: Camera, name: str) -> str:
    """YAML that OpenCV reads, and its calibration sample."""
    bend = list(one.distortion) if one.model == "fisheye" else [*one.distortion[:5], *[0.0] * 5][:5]
    if any(one.distortion[5:]) and one.model == "opencv":
        bend = list(one.distortion)
    return (
        f"%YAML:1.0\n---\nimage_width: {one.width}\nimage_height: {one.height}\n"
        f"fisheye_model: {int(one.model == 'fisheye')}\n"
        + _written("camera_matrix", 3, 3, one.matrix.ravel().tolist())
        + _written("distortion_coefficients", len(bend), 1, bend)
    )


def _written(name: str, rows: int, cols: int, values: list[float]) -> str:
    return (
        f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {cols}\n   dt: d\n"
        f"   data: {row(values)}\n"
    )


def _matrix(storage: Any, names: tuple[str, ...], where: str) -> Any:
    for name in names:
        node = storage.getNode(name)
        if not node.empty():
            if node.isSeq():
                return [node.at(i).real() for i in range(node.size())]
            found = node.mat()
            return [] if found is None else found
    raise CameraError(f"{where}: found no {names[0]}; it is needed")


def _size(storage: Any, where: str) -> tuple[int, int]:
    found = []
    for names in SIZES:
        node = next((n for n in map(storage.getNode, names) if not n.empty()), None)
        if node is None:
            raise CameraError(f"{where}: found no {names[0]}; add the size of the images")
        found.append(int(numbers(node.real(), 1, names[0], where)[0]))
    return found[0], found[1]
