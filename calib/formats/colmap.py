"""COLMAP's cameras.txt, whose pixels start half a pixel earlier than ours."""

from __future__ import annotations

import re

from edge_reloc.errors import CameraError, MappingError
from edge_reloc.geometry.camera import Camera
from edge_reloc.reference.colmap import camera_from_colmap, colmap_from_camera


def is_one(text: str) -> bool:
    """Whether the first line that says something is a camera of COLMAP's."""
    return any(re.match(r"\d+\s+[A-Z_]+\s+\d+\s+\d+\s+\S", line) for line in _lines(text)[:1])


def cameras_of(text: str, where: str) -> dict[str, Camera]:
    """Every camera by its id."""
    found = {}
    for number, line in enumerate(_lines(text), 1):
        parts = line.split()
        try:
            width, height = int(parts[2]), int(parts[3])
            params = [float(part) for part in parts[4:]]
            found[parts[0]] = camera_from_colmap(
                parts[1], width, height, params, f"{where}: camera {parts[0]}"
            )
        except MappingError as error:
            raise CameraError(str(error)) from None
        except (IndexError, ValueError):
            raise CameraError(
                f"{where}: camera {number} is '{line[:60]}', expected CAMERA_ID MODEL WIDTH "
                f"HEIGHT PARAMS"
            ) from None
    return found


def text_of(one: Camera, name: str) -> str:
    """A cameras.txt of one camera."""
    model, params = colmap_from_camera(one)
    written = " ".join(repr(float(value)) for value in params)
    return (
        "# Camera list with one line of data per camera:\n"
        "#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n"
        f"1 {model} {one.width} {one.height} {written}\n"
    )


def _lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]
