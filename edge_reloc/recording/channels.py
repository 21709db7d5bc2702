"""What a recording holds: channels of JSON messages, some with Foxglove's schemas.

The images, calibrations and poses are for whoever looks at a recording with other tools:
`foxglove.CompressedImage` (PNG), `foxglove.CameraCalibration`, `foxglove.PoseInFrame`
(edge_reloc/messages/foxglove.py). The channels of our own hold what these cannot say, to the bit.
"""

from __future__ import annotations

from typing import Any

import cv2

from ..messages.channel import Channel, objects
from ..messages.estimate import ESTIMATE
from ..messages.foxglove import CALIBRATION, IMAGE, POSE, image_message
from ..structs import Frame
from .ring import Entry

FORMAT, VERSION = "edge_reloc.recording", 1
# Level 1 takes 8 to 10 ms for 640x480 and 0.45 of the bytes; 3 takes 16 ms and 0.42, zstd of
# the pixels 3 ms and 0.68, lossless WebP 147 ms and 0.32.
PNG_LEVEL = 1

SESSION = Channel(topic="/edge_reloc/session", schema=objects("edge_reloc.Session", ("format",)))
FRAME = Channel(topic="/edge_reloc/frame", schema=objects("edge_reloc.Frame", ("index", "t_ns")))
CHANNELS = (SESSION, FRAME, ESTIMATE, IMAGE, CALIBRATION, POSE)


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


def png_message(frame: Frame) -> dict[str, Any]:
    """The pixels, as a PNG file: `foxglove.CompressedImage`."""
    _, png = cv2.imencode(".png", frame.image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    return image_message(frame.t_ns, "png", png.tobytes())
