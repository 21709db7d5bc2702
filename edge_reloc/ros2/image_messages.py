"""Images and cameras of ROS messages as ours; neither needs ROS.

Pixels: ROS counts them as OpenCV does, and as we do.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..arrays import U8
from ..errors import CameraError, SourceError
from ..geometry.camera import Camera

#: encoding of sensor_msgs/Image -> bytes of a pixel, and how OpenCV makes it grey
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "mono8": (1, None),
    "8UC1": (1, None),
    "bgr8": (3, cv2.COLOR_BGR2GRAY),
    "8UC3": (3, cv2.COLOR_BGR2GRAY),
    "rgb8": (3, cv2.COLOR_RGB2GRAY),
    "bgra8": (4, cv2.COLOR_BGRA2GRAY),
    "rgba8": (4, cv2.COLOR_RGBA2GRAY),
    "yuv422": (2, cv2.COLOR_YUV2GRAY_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2GRAY_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2GRAY_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2GRAY_YUY2),
    # OpenCV names a pattern by its second row
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2GRAY),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2GRAY),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2GRAY),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2GRAY),
}
#: distortion_model of sensor_msgs/CameraInfo -> ours, and how many coefficients it may have
MODELS = {
    "plumb_bob": ("opencv", (4, 5)),
    "rational_polynomial": ("opencv", (4, 5, 8)),
    "equidistant": ("fisheye", (4,)),
    "fisheye": ("fisheye", (4,)),
}


def grey_of(message: Any) -> U8:
    """(H,W), its own copy, of a sensor_msgs/Image. SourceError for what cannot be read."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if message.encoding not in ENCODINGS:
        raise SourceError(
            f"image of encoding '{message.encoding}': expected one of {', '.join(ENCODINGS)}"
        )
    nbytes, code = ENCODINGS[message.encoding]
    data = np.frombuffer(message.data, np.uint8)
    if width < 1 or height < 1 or step < width * nbytes or data.size < step * height:
        raise SourceError(
            f"image of {width}x{height} {message.encoding}: step {step} and {data.size} bytes are "
            f"too few; expected at least {width * nbytes} and {max(step, width * nbytes) * height}"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * nbytes]
    if code is None:
        return rows.copy()
    pixels = rows if nbytes == 1 else rows.reshape(height, width, nbytes)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), code), np.uint8)


def camera_of(message: Any, *, rectified: bool = False) -> Camera:
    """The camera of a sensor_msgs/CameraInfo; rectified: of its image_rect. CameraError."""
    width, height = int(message.width), int(message.height)
    if rectified:
        p = np.array(message.p, np.float64)
        fx, cx, fy, cy = (float(p[i]) for i in (0, 2, 5, 6))
        model, distortion = "pinhole", tuple[float, ...]()
    else:
        k = np.array(message.k, np.float64)
        fx, cx, fy, cy = (float(k[i]) for i in (0, 2, 4, 5))
        model, distortion = _distortion(message)
    if fx <= 0 or fy <= 0:
        raise CameraError(
            f"camera_info: {'P' if rectified else 'K'} has focal lengths {fx:g} and {fy:g}: the "
            f"camera is not calibrated; name a camera file as parameter 'calibration'"
        )
    return Camera(
        model=model,
        width=width,
        height=height,
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        distortion=distortion,
    )


def _distortion(message: Any) -> tuple[str, tuple[float, ...]]:
    values = tuple(float(value) for value in message.d)
    if not any(values):
        return "pinhole", ()
    if message.distortion_model not in MODELS:
        raise CameraError(
            f"camera_info: distortion model '{message.distortion_model}' is not known; expected "
            f"{', '.join(MODELS)}"
        )
    model, lengths = MODELS[message.distortion_model]
    if len(values) not in lengths:
        raise CameraError(
            f"camera_info: {message.distortion_model} with {len(values)} coefficients; expected "
            f"{' or '.join(map(str, lengths))}"
        )
    return model, values
