"""Messages with the names and fields that Foxglove knows.

By the schemas of https://docs.foxglove.dev/docs/sdk/schemas. Its cameras look along z, x right
and y down, as ours; its pixels begin at the corner of the first one, half a pixel from ours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import F32, F64
from ..geometry.camera import Camera
from ..geometry.rigid import invert, quat_from_rotation
from ..structs import PoseEstimate
from .channel import (
    BYTES,
    DURATION,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    Channel,
    lists,
    numbers,
    objects,
    stamp,
    whole,
)

MAP_FRAME, CAMERA_FRAME, BODY_FRAME = "map", "camera", "body"
#: whose z points up
LEVEL_FRAME = "level"
CORNER_PX = 0.5  # from the corner of the first pixel to its centre
KNOWN_COVARIANCE = 3
INFO, WARNING = 2, 3
FLOAT32 = 7
POINTS_TYPE, LINE_STRIP = 1, 0

_VECTOR = whole("foxglove.Vector3", x=NUMBER, y=NUMBER, z=NUMBER)
_QUATERNION = whole("foxglove.Quaternion", x=NUMBER, y=NUMBER, z=NUMBER, w=NUMBER)
_POSE = whole("foxglove.Pose", position=_VECTOR, orientation=_QUATERNION)
_COLOR = whole("foxglove.Color", r=NUMBER, g=NUMBER, b=NUMBER, a=NUMBER)
_POINT2 = whole("foxglove.Point2", x=NUMBER, y=NUMBER)
_POINT3 = whole("foxglove.Point3", x=NUMBER, y=NUMBER, z=NUMBER)

IMAGE = Channel(
    topic="/camera/image",
    schema=whole(
        "foxglove.CompressedImage", timestamp=TIME, frame_id=TEXT, data=BYTES, format=TEXT
    ),
)
CALIBRATION = Channel(
    topic="/camera/calibration",
    schema=objects(
        "foxglove.CameraCalibration",
        timestamp=TIME,
        frame_id=TEXT,
        width={"type": "integer", "minimum": 0},
        height={"type": "integer", "minimum": 0},
        distortion_model=TEXT,
        D=numbers(),
        K=numbers(9),
        R=numbers(9),
        P=numbers(12),
    ),
)
POSE = Channel(
    topic="/camera/pose",
    schema=whole("foxglove.PoseInFrame", timestamp=TIME, frame_id=TEXT, pose=_POSE),
)
ANNOTATIONS = Channel(
    topic="/camera/features",
    schema=objects(
        "foxglove.ImageAnnotations",
        ("circles", "points", "texts"),
        timestamp=TIME,
        circles=lists(objects("foxglove.CircleAnnotation")),
        points=lists(
            whole(
                "foxglove.PointsAnnotation",
                timestamp=TIME,
                type=INTEGER,
                points=lists(_POINT2),
                outline_color=_COLOR,
                outline_colors=lists(_COLOR),
                fill_color=_COLOR,
                thickness=NUMBER,
            )
        ),
        texts=lists(objects("foxglove.TextAnnotation")),
    ),
)
TRANSFORM = Channel(
    topic="/tf",
    schema=whole(
        "foxglove.FrameTransform",
        timestamp=TIME,
        parent_frame_id=TEXT,
        child_frame_id=TEXT,
        translation=_VECTOR,
        rotation=_QUATERNION,
    ),
)
FIXED_TRANSFORM = Channel(topic="/tf_static", schema=TRANSFORM.schema)
POINTS = Channel(
    topic="/map/points",
    schema=whole(
        "foxglove.PointCloud",
        timestamp=TIME,
        frame_id=TEXT,
        pose=_POSE,
        point_stride=INTEGER,
        fields=lists(whole("foxglove.PackedElementField", name=TEXT, offset=INTEGER, type=INTEGER)),
        data=BYTES,
    ),
)
_LINE = whole(
    "foxglove.LinePrimitive",
    type=INTEGER,
    pose=_POSE,
    thickness=NUMBER,
    scale_invariant={"type": "boolean"},
    points=lists(_POINT3),
    color=_COLOR,
    colors=lists(_COLOR),
    indices=lists(INTEGER),
)
_NOT_DRAWN = ("arrows", "cubes", "spheres", "cylinders", "triangles", "texts", "models")
PATH = Channel(
    topic="/camera/path",
    schema=whole(
        "foxglove.SceneUpdate",
        deletions=lists(objects("foxglove.SceneEntityDeletion")),
        entities=lists(
            whole(
                "foxglove.SceneEntity",
                timestamp=TIME,
                frame_id=TEXT,
                id=TEXT,
                lifetime=DURATION,
                frame_locked={"type": "boolean"},
                metadata=lists(objects("foxglove.KeyValuePair", key=TEXT, value=TEXT)),
                lines=lists(_LINE),
                **{name: lists({"type": "object"}) for name in _NOT_DRAWN},
            )
        ),
    ),
)
LOG = Channel(
    topic="/edge_reloc/log",
    schema=whole(
        "foxglove.Log",
        timestamp=TIME,
        level=INTEGER,
        message=TEXT,
        name=TEXT,
        file=TEXT,
        line=INTEGER,
    ),
)
LOCATION = Channel(
    topic="/location",
    schema=whole(
        "foxglove.LocationFix",
        timestamp=TIME,
        frame_id=TEXT,
        latitude=NUMBER,
        longitude=NUMBER,
        altitude=NUMBER,
        position_covariance=numbers(9),
        position_covariance_type=INTEGER,
    ),
)


def image_message(t_ns: int, kind: str, content: bytes) -> dict[str, Any]:
    """An image file of a kind (png, jpeg): `foxglove.CompressedImage`."""
    return {
        "timestamp": stamp(t_ns),
        "frame_id": CAMERA_FRAME,
        "format": kind,
        "data": _base64(content),
    }


def calibration_message(camera: Camera, t_ns: int) -> dict[str, Any]:
    """`foxglove.CameraCalibration`."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return {
        "timestamp": stamp(t_ns),
        "frame_id": CAMERA_FRAME,
        "width": camera.width,
        "height": camera.height,
        "distortion_model": {"fisheye": "kannala_brandt"}.get(camera.model, "rational_polynomial"),
        "D": list(camera.distortion) or [0.0] * 8,
        "K": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "R": np.eye(3).ravel(),
        "P": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }


def pose_message(estimate: PoseEstimate) -> dict[str, Any] | None:
    """The camera in the map, `foxglove.PoseInFrame`; None without a pose."""
    if estimate.cam_from_world is None:
        return None
    return {
        "timestamp": stamp(estimate.t_ns),
        "frame_id": MAP_FRAME,
        "pose": _pose(invert(estimate.cam_from_world)),
    }


def transform_message(t_ns: int, parent: str, child: str, parent_from_child: F64) -> dict[str, Any]:
    """Frames of reference, (4,4): `foxglove.FrameTransform`."""
    pose = _pose(parent_from_child)
    return {
        "timestamp": stamp(t_ns),
        "parent_frame_id": parent,
        "child_frame_id": child,
        "translation": pose["position"],
        "rotation": pose["orientation"],
    }


def annotations_message(
    t_ns: int, groups: Iterable[tuple[F32, tuple[float, float, float, float], float]]
) -> dict[str, Any]:
    """Points in an image: `foxglove.ImageAnnotations`.

    groups: (N,2) pixels, colour as red, green, blue and alpha of 0 to 1, and size in pixels.
    """
    time = stamp(t_ns)
    return {
        "timestamp": time,
        "circles": [],
        "points": [
            {
                "timestamp": time,
                "type": POINTS_TYPE,
                "points": [{"x": x, "y": y} for x, y in _to_tenths(xy_px + CORNER_PX)],
                "outline_color": _color(*color),
                "outline_colors": [],
                "fill_color": _color(*color),
                "thickness": size_px,
            }
            for xy_px, color, size_px in groups
        ],
        "texts": [],
    }


def points_message(t_ns: int, xyz: F32) -> dict[str, Any]:
    """Points of the map (P,3): `foxglove.PointCloud`."""
    return {
        "timestamp": stamp(t_ns),
        "frame_id": MAP_FRAME,
        "pose": _pose(np.eye(4)),
        "point_stride": 12,
        "fields": [
            {"name": name, "offset": 4 * i, "type": FLOAT32} for i, name in enumerate("xyz")
        ],
        "data": _base64(np.ascontiguousarray(xyz, "<f4").tobytes()),
    }


def path_message(t_ns: int, name: str, xyz: Iterable[F64]) -> dict[str, Any]:
    """A line through places of the map: one `foxglove.SceneEntity`, that replaces its namesake."""
    entity: dict[str, Any] = {
        "timestamp": stamp(t_ns),
        "frame_id": MAP_FRAME,
        "id": name,
        "lifetime": {"sec": 0, "nsec": 0},  # for ever
        "frame_locked": True,
        "metadata": [],
        "lines": [
            {
                "type": LINE_STRIP,
                "pose": _pose(np.eye(4)),
                "thickness": 2.0,
                "scale_invariant": True,  # in pixels
                "points": [_vector(place) for place in xyz],
                "color": _color(0.2, 0.8, 0.4, 1.0),
                "colors": [],
                "indices": [],
            }
        ],
        **{name: [] for name in _NOT_DRAWN},
    }
    return {"deletions": [], "entities": [entity]}


def log_message(t_ns: int, level: int, text: str) -> dict[str, Any]:
    """A line for a person: `foxglove.Log`."""
    return {
        "timestamp": stamp(t_ns),
        "level": level,
        "message": text,
        "name": "edge_reloc",
        "file": "",
        "line": 0,
    }


def location_message(
    t_ns: int, frame: str, latitude_longitude_altitude: tuple[float, float, float], enu_m2: F64
) -> dict[str, Any]:
    """A place on Earth, with its covariance (3,3) of east, north, up: `foxglove.LocationFix`."""
    latitude_deg, longitude_deg, altitude_m = latitude_longitude_altitude
    return {
        "timestamp": stamp(t_ns),
        "frame_id": frame,
        "latitude": latitude_deg,
        "longitude": longitude_deg,
        "altitude": altitude_m,
        "position_covariance": enu_m2.ravel(),
        "position_covariance_type": KNOWN_COVARIANCE,
    }


def _pose(a_from_b: F64) -> dict[str, Any]:
    qw, qx, qy, qz = (float(value) for value in quat_from_rotation(a_from_b[:3, :3]))
    return {
        "position": _vector(a_from_b[:3, 3]),
        "orientation": {"x": qx, "y": qy, "z": qz, "w": qw},
    }


def _vector(xyz: F64) -> dict[str, float]:
    x, y, z = (float(value) for value in xyz)
    return {"x": x, "y": y, "z": z}


def _color(r: float, g: float, b: float, a: float) -> dict[str, float]:
    return {"r": r, "g": g, "b": b, "a": a}


def _to_tenths(xy_px: NDArray[np.float32]) -> Any:
    return np.round(xy_px.astype(np.float64), 1).tolist()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
