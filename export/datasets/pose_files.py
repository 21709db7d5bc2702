"""Files of poses that several data sets share."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge_reloc.arrays import F64
from edge_reloc.errors import MappingError, SourceError
from edge_reloc.files import read_small
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import (
    FARTHEST,
    SKEWED,
    compose,
    invert,
    quaternion,
    rotation_from_quat,
)
from edge_reloc.reference.colmap import camera_from_colmap, read_model

from .scene import Shot

MOST_BYTES = 1 << 28


class Row(NamedTuple):
    """Words of a line, and where it stands."""

    words: list[str]
    where: str


def rows(
    path: Path, *, skip: int = 0, comment: str = "#", separator: str | None = None
) -> list[Row]:
    """Lines of a text file that are not empty and no comment. Raises SourceError."""
    try:
        text = read_small(path, MOST_BYTES).decode()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not a text file") from None
    return [
        Row([word.strip() for word in line.strip().split(separator)], f"{path}:{number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if number > skip and line.strip() and not line.startswith(comment)
    ]


def first_row(path: Path) -> Row:
    """The first line of a text file that is none of comments. Raises SourceError."""
    found = rows(path)
    if not found:
        raise SourceError(f"{path}: empty; unpack it again")
    return found[0]


def word(row: Row, place: int, what: str) -> str:
    """One word of a line. Raises SourceError where it is missing."""
    if len(row.words) <= place:
        raise SourceError(f"{row.where}: expected {what}, found '{' '.join(row.words)[:80]}'")
    return row.words[place]


def numbers(row: Row, first: int, count: int, what: str) -> F64:
    """Words from `first` on as `count` finite numbers. Raises SourceError."""
    try:
        values = np.array([float(word) for word in row.words[first : first + count]])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise SourceError(f"{row.where}: expected {what}, found '{' '.join(row.words)[:80]}'")
    return values


def whole(text: str, where: str, what: str) -> int:
    """A whole number that fits 64 bits. Raises SourceError."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 19
    if not plain or int(text) >= 1 << 63:
        raise SourceError(f"{where}: expected {what}, found '{text[:80]}'")
    return int(text)


def rotation(row: Row, quat_wxyz: F64) -> F64:
    """(3,3) of a quaternion of a line. Raises SourceError."""
    quat = quaternion(quat_wxyz)
    if quat is None:
        raise SourceError(f"{row.where}: expected a quaternion, found {quat_wxyz.tolist()}")
    return rotation_from_quat(quat)


def place(row: Row, xyz: F64) -> F64:
    """`xyz` (3,) itself. Raises SourceError where it is farther than anything can be."""
    if np.abs(xyz).max() > FARTHEST:
        raise SourceError(
            f"{row.where}: expected a position up to {FARTHEST:g}, found {xyz.tolist()}"
        )
    return xyz


def pose_matrix(path: Path) -> F64 | None:
    """(4,4) or (3,4) numbers of a text file as a rigid (4,4); None where some are not finite.

    Raises SourceError for anything else.
    """
    try:
        values = np.array([[_number(word) for word in row.words] for row in rows(path)])
    except ValueError:
        values = np.zeros(0)
    if values.shape not in ((4, 4), (3, 4)):
        raise SourceError(f"{path}: expected a pose, three or four rows of four numbers")
    if not np.isfinite(values).all():
        return None
    pose = nearest_pose(values)
    if pose is None:
        raise SourceError(f"{path}: expected the columns of a rotation, and a position")
    return pose


def nearest_pose(matrix: F64) -> F64 | None:
    """The rigid (4,4) that a matrix (4,4) or (3,4) was written for; None where it is none."""
    turned = nearest_rotation(matrix[:3, :3])
    if turned is None or not (np.abs(matrix) <= FARTHEST).all():
        return None
    return compose(turned, matrix[:3, 3])


def nearest_rotation(matrix: F64) -> F64 | None:
    """The rotation (3,3) that a matrix (3,3) was written for; None where it is none."""
    if not (np.abs(matrix) < 2).all():  # nor may one be no number
        return None
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > SKEWED or np.linalg.det(matrix) < 0:
        return None
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right, np.float64)


def _number(word: str) -> float:
    """Also of Windows' words for what is not finite, such as -1.#INF."""
    return float("nan") if "#" in word else float(word)


class ListedPose(NamedTuple):
    """Of a photo, and its focal length where the list has one."""

    cam_from_world: F64
    focal_px: float | None


def quaternion_list(path: Path) -> dict[str, ListedPose]:
    """Poses of `name qw qx qy qz tx ty tz [focal length]`, world to camera, by name."""
    found = {}
    for row in rows(path):
        values = numbers(row, 1, 7, "name qw qx qy qz tx ty tz")
        focal = float(numbers(row, 8, 1, "a focal length")[0]) if len(row.words) > 8 else None
        pose = compose(rotation(row, values[:4]), place(row, values[4:]))
        found[row.words[0]] = ListedPose(pose, focal)
    return found


def from_centre(row: Row, quat_wxyz: F64, centre: F64) -> F64:
    """`cam_from_world` of its rotation and of where the camera stands. Raises SourceError."""
    turned = rotation(row, quat_wxyz)
    return compose(turned, -turned @ place(row, centre))


def world_from_cam(path: Path) -> F64 | None:
    """`cam_from_world` of a file with its inverse; None where that is not finite."""
    pose = pose_matrix(path)
    return None if pose is None else invert(pose)


def listed_cameras(path: Path) -> list[tuple[str, Camera]]:
    """Names and cameras of `name MODEL width height parameters`, as COLMAP has them.

    Raises SourceError.
    """
    found = []
    for row in rows(path):
        count = max(len(row.words) - 2, 2)
        values = numbers(row, 2, count, "name MODEL width height parameters").tolist()
        size = int(values[0]), int(values[1])
        found.append((row.words[0], colmap_camera(row.words[1], size, values[2:], row.where)))
    return found


def colmap_camera(model: str, size: tuple[int, int], params: list[float], where: str) -> Camera:
    """Camera of parameters that follow COLMAP's conventions. Raises SourceError."""
    try:
        return camera_from_colmap(model, *size, params, where)
    except MappingError as error:
        raise SourceError(str(error)) from None


def model_shots(model: Path, images: Path) -> list[Shot]:
    """Photos of a COLMAP model, in its order, that lie in a folder."""
    found = read_model(model)
    return [
        Shot(
            name=image.name,
            path=images / image.name,
            camera=found.cameras[image.camera_id],
            cam_from_world=image.cam_from_world,
        )
        for image in found.images
    ]
