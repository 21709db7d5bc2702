"""What a recording holds: channels of JSON messages, some with Foxglove's schemas.

The images, calibrations and poses are for whoever looks at a recording with other tools:
`foxglove.CompressedImage` (PNG), `foxglove.CameraCalibration`, `foxglove.PoseInFrame`, by the
schemas of https://docs.foxglove.dev/docs/sdk/schemas. The channels of our own hold what these
cannot say, to the bit.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import Camera
from ..geometry.rigid import invert, quat_from_rotation
from ..structs import Frame, PoseEstimate
from .ring import Entry

FORMAT, VERSION = "edge_reloc.recording", 1
MAP_FRAME, CAMERA_FRAME = "map", "camera"
# Level 1 takes 8 to 10 ms for 640x480 and 0.45 of the bytes; 3 takes 16 ms and 0.42, zstd of
# the pixels 3 ms and 0.68, lossless WebP 147 ms and 0.32.
PNG_LEVEL = 1

_NUMBER, _TEXT = {"type": "number"}, {"type": "string"}
_TIME = {
    "type": "object",
    "title": "time",
    "properties": {
        "sec": {"type": "integer", "minimum": 0},
        "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
}


def _object(title: str, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A JSON schema."""
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": list(required),
    }


def _numbers(count: int | None = None) -> dict[str, Any]:
    bounds = {} if count is None else {"minItems": count, "maxItems": count}
    return {"type": "array", "items": _NUMBER, **bounds}


@dataclass(frozen=True, kw_only=True)
class Channel:
    """A topic with the JSON schema of its messages."""

    topic: str
    schema: dict[str, Any]

    @property
    def schema_name(self) -> str:
        """As other tools look it up."""
        return str(self.schema["title"])


SESSION = Channel(topic="/edge_reloc/session", schema=_object("edge_reloc.Session", ("format",)))
FRAME = Channel(topic="/edge_reloc/frame", schema=_object("edge_reloc.Frame", ("index", "t_ns")))
ESTIMATE = Channel(
    topic="/edge_reloc/estimate", schema=_object("edge_reloc.PoseEstimate", ("frame", "status"))
)
IMAGE = Channel(
    topic="/camera/image",
    schema=_object(
        "foxglove.CompressedImage",
        ("timestamp", "frame_id", "data", "format"),
        timestamp=_TIME,
        frame_id=_TEXT,
        data={"type": "string", "contentEncoding": "base64"},
        format=_TEXT,
    ),
)
CALIBRATION = Channel(
    topic="/camera/calibration",
    schema=_object(
        "foxglove.CameraCalibration",
        timestamp=_TIME,
        frame_id=_TEXT,
        width={"type": "integer", "minimum": 0},
        height={"type": "integer", "minimum": 0},
        distortion_model=_TEXT,
        D=_numbers(),
        K=_numbers(9),
        R=_numbers(9),
        P=_numbers(12),
    ),
)
POSE = Channel(
    topic="/camera/pose",
    schema=_object(
        "foxglove.PoseInFrame",
        ("timestamp", "frame_id", "pose"),
        timestamp=_TIME,
        frame_id=_TEXT,
        pose=_object(
            "foxglove.Pose",
            ("position", "orientation"),
            position=_object("foxglove.Vector3", ("x", "y", "z"), x=_NUMBER, y=_NUMBER, z=_NUMBER),
            orientation=_object(
                "foxglove.Quaternion",
                ("x", "y", "z", "w"),
                x=_NUMBER,
                y=_NUMBER,
                z=_NUMBER,
                w=_NUMBER,
            ),
        ),
    ),
)
CHANNELS = (SESSION, FRAME, ESTIMATE, IMAGE, CALIBRATION, POSE)


def encode(message: dict[str, Any]) -> bytes:
    """JSON of plain values and arrays; a float keeps every bit, NaN and infinity included."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no place in a recording")


def frame_message(entry: Entry, first: bool) -> dict[str, Any]:
    """All of a frame but its pixels, and where a replay needs it what was remembered before."""
    frame = entry.frame
    fault = frame.fault
    return {
        "index": frame.index,
        "name": frame.name,
        "t_ns": frame.t_ns,
        "received_ns": frame.received_ns,
        "shape": frame.image.shape,
        "camera": None if frame.camera is None else frame.camera.to_dict(),
        "quarter_turns": frame.quarter_turns,
        "upright_turns": frame.upright_turns,
        "down": frame.down,
        "odom_from_cam": frame.odom_from_cam,
        "fault": fault
        and {"reason": fault.reason.value, "text": fault.text, "since_ns": fault.since_ns},
        "recalled": entry.recalled if first or entry.after_gap else None,
    }


def estimate_message(estimate: PoseEstimate) -> dict[str, Any]:
    """The line of `poses.jsonl`, and counts that it leaves out."""
    return {
        **estimate.to_json(),
        "keypoints": estimate.keypoints,
        "matches": estimate.matches,
        "refined": estimate.refined,
    }


def image_message(frame: Frame) -> dict[str, Any]:
    """The pixels, as a PNG file: `foxglove.CompressedImage`."""
    _, png = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    return {
        "timestamp": _stamp(frame.t_ns),
        "frame_id": CAMERA_FRAME,
        "format": "png",
        "data": base64.b64encode(png.tobytes()).decode("ascii"),
    }


def calibration_message(camera: Camera, t_ns: int) -> dict[str, Any]:
    """`foxglove.CameraCalibration`."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return {
        "timestamp": _stamp(t_ns),
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
    world_from_cam = invert(estimate.cam_from_world)
    x, y, z = world_from_cam[:3, 3]
    qw, qx, qy, qz = quat_from_rotation(world_from_cam[:3, :3])
    return {
        "timestamp": _stamp(estimate.t_ns),
        "frame_id": MAP_FRAME,
        "pose": {
            "position": {"x": x, "y": y, "z": z},
            "orientation": {"x": qx, "y": qy, "z": qz, "w": qw},
        },
    }


def _stamp(t_ns: int) -> dict[str, int]:
    sec, nsec = divmod(t_ns, 1_000_000_000)
    return {"sec": sec, "nsec": nsec}
