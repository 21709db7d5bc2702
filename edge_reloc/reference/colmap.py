"""COLMAP models, text or binary, in; text out.

COLMAP puts the centre of the top-left pixel at (0.5, 0.5). That half pixel is
removed here when a model is read, added back when one is written, and never
seen by anyone else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import F64, I64
from ..errors import CameraError, MappingError
from ..files import read_small, write_atomic
from ..geometry.camera import Camera
from ..geometry.rigid import FARTHEST, compose, quat_from_rotation, quaternion, rotation_from_quat

HALF_PX = 0.5
MODEL_BYTES = 1 << 31  # of each file
MOST_POINTS = 1 << 62  # ids end below


class _Model(NamedTuple):
    """Parameters of a model: focal lengths, then cx, cy, then distortion."""

    id: int
    #: How many focal lengths, 1 or 2.
    focals: int
    #: Our model.
    target: str
    #: Place of each coefficient in `Camera.distortion`.
    distortion: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return self.focals + 2 + len(self.distortion)


MODELS = {
    "SIMPLE_PINHOLE": _Model(0, 1, "pinhole", ()),
    "PINHOLE": _Model(1, 2, "pinhole", ()),
    "SIMPLE_RADIAL": _Model(2, 1, "opencv", (0,)),
    "RADIAL": _Model(3, 1, "opencv", (0, 1)),
    "OPENCV": _Model(4, 2, "opencv", (0, 1, 2, 3)),
    "OPENCV_FISHEYE": _Model(5, 2, "fisheye", (0, 1, 2, 3)),
    "FULL_OPENCV": _Model(6, 2, "opencv", (0, 1, 2, 3, 4, 5, 6, 7)),
    "SIMPLE_RADIAL_FISHEYE": _Model(8, 1, "fisheye", (0,)),
    "RADIAL_FISHEYE": _Model(9, 1, "fisheye", (0, 1)),
}
_NAMES = {model.id: name for name, model in MODELS.items()}


@dataclass(kw_only=True)
class ColmapImage:
    """A posed photo."""

    name: str
    camera_id: int
    #: (4,4).
    cam_from_world: F64
    #: Keypoints (K,2).
    xy_px: F64 = field(default_factory=lambda: np.zeros((0, 2)))
    #: The point that each keypoint shows (K,), -1: none.
    point_id: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(kw_only=True)
class ColmapModel:
    """A scene as COLMAP keeps it."""

    #: By id.
    cameras: dict[int, Camera]
    #: In the order of the file.
    images: list[ColmapImage]
    #: Position (3,) by id, map units.
    points: dict[int, F64]


def camera_from_colmap(
    model: str, width: int, height: int, params: list[float], where: str
) -> Camera:
    """Camera of COLMAP parameters; the half pixel is removed here."""
    kind = MODELS.get(model)
    if kind is None:
        raise MappingError(
            f"{where}: camera model '{model}' is not supported; expected one of "
            f"{', '.join(MODELS)} (COLMAP's image_undistorter turns any model into PINHOLE)"
        )
    if len(params) != kind.parameters:
        raise MappingError(
            f"{where}: {model} has {len(params)} parameters, expected {kind.parameters}"
        )
    fx, fy = params[0], params[kind.focals - 1]
    cx, cy = params[kind.focals : kind.focals + 2]
    distortion = [0.0] * (max(kind.distortion) + 1 if kind.distortion else 0)
    for place, value in zip(kind.distortion, params[kind.focals + 2 :], strict=True):
        distortion[place] = value
    try:
        return Camera(
            model=kind.target,
            width=width,
            height=height,
            fx=fx,
            fy=fy,
            cx=cx - HALF_PX,
            cy=cy - HALF_PX,
            distortion=tuple(distortion),
        )
    except CameraError as error:
        raise MappingError(f"{where}: {error}") from error


def colmap_from_camera(camera: Camera) -> tuple[str, list[float]]:
    """COLMAP model name and parameters; the half pixel is added here."""
    centre = [camera.cx + HALF_PX, camera.cy + HALF_PX]
    name = {"pinhole": "PINHOLE", "fisheye": "OPENCV_FISHEYE"}.get(camera.model)
    if name is None:
        name = "FULL_OPENCV" if any(camera.distortion[4:]) else "OPENCV"
    count = len(MODELS[name].distortion)
    return name, [camera.fx, camera.fy, *centre, *camera.distortion[:count]]


def colmap_pixels(xy_px: NDArray[Any]) -> NDArray[Any]:
    """Our pixels (...,2) as COLMAP counts them, of the same dtype."""
    return xy_px + HALF_PX


def read_model(path: str | Path) -> ColmapModel:
    """Read a model folder; points are optional.

    Looks into `path`, then into sparse/0, sparse and 0 under it. MappingError
    names file and line of whatever is malformed.
    """
    path = Path(path)
    for folder in (path, path / "sparse" / "0", path / "sparse", path / "0"):
        if (folder / "images.bin").is_file() and (folder / "cameras.bin").is_file():
            model = ColmapModel(
                cameras=_read_binary(folder / "cameras.bin", _camera_binary),
                images=list(_read_binary(folder / "images.bin", _image_binary).values()),
                points=_read_binary(folder / "points3D.bin", _point_binary),
            )
            break
        if (folder / "images.txt").is_file() and (folder / "cameras.txt").is_file():
            model = ColmapModel(
                cameras=_cameras_text(folder / "cameras.txt"),
                images=_images_text(folder / "images.txt"),
                points=_points_text(folder / "points3D.txt"),
            )
            break
    else:
        raise MappingError(
            f"{path}: no COLMAP model here; expected cameras and images as .txt or .bin"
        )
    if not model.images:
        raise MappingError(f"{folder}: the model has no images")
    named: set[str] = set()
    for image in model.images:
        if image.name in named:
            raise MappingError(f"{folder}: two images have the name '{image.name}'")
        named.add(image.name)
        if image.camera_id not in model.cameras:
            raise MappingError(
                f"{folder}: image '{image.name}' uses camera {image.camera_id}, "
                f"which is not among the cameras {sorted(model.cameras)[:10]}"
            )
    return model


def write_model_text(folder: Path, model: ColmapModel) -> None:
    """Write cameras.txt, images.txt and points3D.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS"]
    for camera_id, camera in model.cameras.items():
        name, params = colmap_from_camera(camera)
        numbers = " ".join(repr(float(p)) for p in params)
        lines.append(f"{camera_id} {name} {camera.width} {camera.height} {numbers}")
    write_atomic(folder / "cameras.txt", "\n".join(lines) + "\n")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then X Y POINT3D_ID ..."]
    tracks: dict[int, list[str]] = {}
    for image_id, image in enumerate(model.images, start=1):
        quat = quat_from_rotation(image.cam_from_world[:3, :3])
        pose = " ".join(repr(float(v)) for v in [*quat, *image.cam_from_world[:3, 3]])
        lines.append(f"{image_id} {pose} {image.camera_id} {image.name}")
        xy = colmap_pixels(image.xy_px)
        lines.append(
            " ".join(
                f"{x:.4f} {y:.4f} {point}" for (x, y), point in zip(xy, image.point_id, strict=True)
            )
        )
        for row, point in enumerate(image.point_id.tolist()):
            tracks.setdefault(point, []).append(f"{image_id} {row}")
    write_atomic(folder / "images.txt", "\n".join(lines) + "\n")
    lines = ["# POINT3D_ID X Y Z R G B ERROR TRACK"]
    for point, xyz in model.points.items():
        numbers = " ".join(repr(float(v)) for v in xyz)
        lines.append(f"{point} {numbers} 128 128 128 0 {' '.join(tracks.get(point, []))}")
    write_atomic(folder / "points3D.txt", "\n".join(lines) + "\n")


def _rows(path: Path) -> list[tuple[int, str]]:
    try:
        text = read_small(path, MODEL_BYTES).decode()
    except UnicodeDecodeError as error:
        raise MappingError(f"{path}: not a text file ({error.reason})") from error
    return [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if not line.startswith("#")
    ]


def _cameras_text(path: Path) -> dict[int, Camera]:
    cameras = {}
    for number, line in _rows(path):
        if not line:
            continue
        where, words = f"{path}:{number}", line.split()
        try:
            key, width, height = int(words[0]), int(words[2]), int(words[3])
            params = [float(w) for w in words[4:]]
        except (ValueError, IndexError):
            raise MappingError(
                f"{where}: expected 'CAMERA_ID MODEL WIDTH HEIGHT PARAMS', found '{line[:60]}'"
            ) from None
        cameras[key] = camera_from_colmap(words[1], width, height, params, where)
    return cameras


def _images_text(path: Path) -> list[ColmapImage]:
    images = []
    rows = iter(_rows(path))
    for number, line in rows:
        if not line:
            continue
        words = line.split(maxsplit=9)
        try:
            pose = _pose(np.array([float(w) for w in words[1:8]]))
            camera_id, name = int(words[8]), words[9]
        except (ValueError, IndexError):
            raise MappingError(
                f"{path}:{number}: expected 'IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME', "
                f"found '{line[:60]}'"
            ) from None
        number, line = next(rows, (number + 1, ""))
        try:
            triples = np.array(line.split(), dtype=np.float64).reshape(-1, 3)
            if not (np.abs(triples) < MOST_POINTS).all():  # nor may one be no number
                raise ValueError
        except ValueError:
            raise MappingError(
                f"{path}:{number}: expected the 'X Y POINT3D_ID' triples of '{name}' "
                f"(an empty line when there are none), found '{line[:60]}'"
            ) from None
        images.append(
            ColmapImage(
                name=name,
                camera_id=camera_id,
                cam_from_world=pose,
                xy_px=triples[:, :2] - HALF_PX,
                point_id=triples[:, 2].astype(np.int64),
            )
        )
    return images


def _points_text(path: Path) -> dict[int, F64]:
    points = {}
    for number, line in _rows(path) if path.is_file() else ():
        words = line.split(maxsplit=4)
        if not words:
            continue
        try:
            points[int(words[0])] = _place([float(w) for w in words[1:4]])
        except ValueError:
            raise MappingError(
                f"{path}:{number}: expected 'POINT3D_ID X Y Z ...', found '{line[:60]}'"
            ) from None
    return points


def _pose(quat_and_translation: F64) -> F64:
    quat = quaternion(quat_and_translation[:4])
    if quat is None:
        raise ValueError("not a pose")
    return compose(rotation_from_quat(quat), _place(quat_and_translation[4:]))


def _place(xyz: Any) -> F64:
    """Numbers (3,) that a place can have. Raises ValueError."""
    place = np.array(xyz, np.float64).reshape(3)
    if not (np.abs(place) <= FARTHEST).all():
        raise ValueError(f"a position of {place.tolist()}, expected numbers up to {FARTHEST:g}")
    return place


class _Cursor:
    """Reads packed values of a binary file, front to back."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, read_small(path, MODEL_BYTES), 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        left = len(self.data) - self.at
        if count * dtype.itemsize > left:
            raise ValueError(f"{count} entries of {dtype.itemsize} bytes, {left} bytes are left")
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def text(self) -> str:
        end = self.data.index(b"\0", self.at)
        value = self.data[self.at : end].decode()
        self.at = end + 1
        return value


def _read_binary(path: Path, read_one: Any) -> dict[int, Any]:
    if path.name == "points3D.bin" and not path.is_file():
        return {}
    cursor = _Cursor(path)
    items = {}
    try:
        (count,) = cursor.take("Q")
        for _ in range(count):
            key, item = read_one(cursor)
            items[key] = item
    except (struct.error, ValueError, IndexError) as error:
        raise MappingError(
            f"{path}: damaged or cut short at byte {cursor.at} of {len(cursor.data)} ({error})"
        ) from error
    if cursor.at != len(cursor.data):
        raise MappingError(
            f"{path}: {len(cursor.data) - cursor.at} bytes too many after its {count} entries"
        )
    return items


def _camera_binary(cursor: _Cursor) -> tuple[int, Camera]:
    key, model_id, width, height = cursor.take("iiQQ")
    name = _NAMES.get(model_id, f"number {model_id}")
    count = MODELS[name].parameters if name in MODELS else 0
    params = [float(v) for v in cursor.take(f"{count}d")]
    return key, camera_from_colmap(name, width, height, params, str(cursor.path))


def _image_binary(cursor: _Cursor) -> tuple[int, ColmapImage]:
    (key,) = cursor.take("I")
    pose = _pose(np.array(cursor.take("7d")))
    (camera_id,) = cursor.take("I")
    name = cursor.text()
    (count,) = cursor.take("Q")
    rows = cursor.array(np.dtype([("xy", "<f8", 2), ("id", "<i8")]), count)
    return key, ColmapImage(
        name=name,
        camera_id=camera_id,
        cam_from_world=pose,
        xy_px=rows["xy"] - HALF_PX,
        point_id=rows["id"].copy(),
    )


def _point_binary(cursor: _Cursor) -> tuple[int, F64]:
    (key,) = cursor.take("Q")
    xyz = _place(cursor.take("3d"))
    cursor.take("3Bd")
    (length,) = cursor.take("Q")
    cursor.array(np.dtype("<u4"), 2 * length)
    return key, xyz
