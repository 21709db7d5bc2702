"""Camera models: pixels from camera points, rays from pixels.

Pixel (0, 0) is the centre of the top-left pixel, as in OpenCV. COLMAP puts it
at (0.5, 0.5): that half pixel is removed where a COLMAP model is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import Array
from ..errors import CameraError
from ..files import read_small, write_atomic
from .distortion import (
    bend_fisheye,
    bend_opencv,
    slope_fisheye,
    slope_opencv,
    straighten_fisheye,
    straighten_opencv,
)
from .rigid import RIGID, rigid

# model -> number of distortion coefficients
MODELS = {"pinhole": 0, "opencv": 8, "fisheye": 4}
# Far beyond what any camera has, and near enough that no arithmetic overflows.
MOST_PX = 1 << 16
LEAST_FOCAL_PX, MOST_FOCAL_PX = 1e-3, 1e7
MOST_DISTORTION = 1e6
MOST_LATENCY_MS = 1e4
ASPECT_TOLERANCE = 0.005  # relative; sensor modes round to a pixel or two


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Intrinsics of one camera at one resolution."""

    #: "pinhole"; "opencv" (radial-tangential k1 k2 p1 p2 k3 k4 k5 k6, as
    #: `cv2.calibrateCamera`); "fisheye" (k1 k2 k3 k4, as `cv2.fisheye`).
    model: str
    #: Of the image, pixels, 16 to 65536.
    width: int
    height: int
    #: Focal lengths, pixels, above 0.
    fx: float
    fy: float
    #: Principal point, pixels.
    cx: float
    cy: float
    #: Padded with zeros to the model's length.
    distortion: tuple[float, ...] = ()
    #: Held-out reprojection error of the calibration, pixels, None when never measured.
    rms_px: float | None = None
    #: From the middle of the exposure to the time that a live frame is stamped with,
    #: milliseconds, None when never measured.
    latency_ms: float | None = None
    #: 4x4 rows: points of the camera to points of the body (x forward, y left, z up), metres;
    #: None where the body is unknown, or is the camera.
    body_from_cam: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise CameraError(
                f"camera model: found '{self.model}', expected one of {', '.join(MODELS)}"
            )
        if min(self.width, self.height) < 16:
            raise CameraError(
                f"camera size: found {self.width}x{self.height}, expected at least 16x16 pixels"
            )
        if max(self.width, self.height) > MOST_PX:
            raise CameraError(
                f"camera size: found {_short(self.width)}x{_short(self.height)}, expected at most "
                f"{MOST_PX} pixels a side"
            )
        if not all(LEAST_FOCAL_PX <= focal <= MOST_FOCAL_PX for focal in (self.fx, self.fy)):
            raise CameraError(
                f"camera focal length: found fx={self.fx} fy={self.fy}, expected positive pixels "
                f"({LEAST_FOCAL_PX:g} to {MOST_FOCAL_PX:g})"
            )
        if not all(abs(centre) <= MOST_FOCAL_PX for centre in (self.cx, self.cy)):
            raise CameraError(
                f"camera principal point: found cx={self.cx} cy={self.cy}, expected pixels "
                f"({-MOST_FOCAL_PX:g} to {MOST_FOCAL_PX:g})"
            )
        if not all(abs(k) <= MOST_DISTORTION for k in self.distortion):
            raise CameraError(
                f"camera distortion: found {list(self.distortion)}, expected numbers of "
                f"{-MOST_DISTORTION:g} to {MOST_DISTORTION:g}"
            )
        if self.rms_px is not None and not 0 <= self.rms_px <= MOST_PX:
            raise CameraError(
                f"camera rms_px: found {self.rms_px}, expected 0 to {MOST_PX} pixels, or null"
            )
        if self.latency_ms is not None and not abs(self.latency_ms) <= MOST_LATENCY_MS:
            raise CameraError(
                f"camera latency_ms: found {self.latency_ms}, expected milliseconds of "
                f"{-MOST_LATENCY_MS:g} to {MOST_LATENCY_MS:g}, or null"
            )
        if self.body_from_cam is not None:
            mount = rigid(self.body_from_cam)
            if mount is None:
                raise CameraError(f"camera body_from_cam: expected {RIGID}, or null")
            object.__setattr__(self, "body_from_cam", tuple(map(tuple, mount.tolist())))
        size = MODELS[self.model]
        if len(self.distortion) > size:
            raise CameraError(
                f"camera distortion: found {len(self.distortion)} coefficients, "
                f"expected at most {size} for model '{self.model}'"
            )
        padded = tuple(float(k) for k in self.distortion) + (0.0,) * (size - len(self.distortion))
        object.__setattr__(self, "distortion", padded)

    @property
    def parameters(self) -> Array:
        """fx, fy, cx, cy and the distortion, float64."""
        return np.array([self.fx, self.fy, self.cx, self.cy, *self.distortion], np.float64)

    @property
    def mount(self) -> Array | None:
        """`body_from_cam` as (4,4), None where it is unknown."""
        return None if self.body_from_cam is None else np.array(self.body_from_cam)

    def mounted(self, body_from_cam: Array) -> Camera:
        """The same camera on a body; (4,4)."""
        return replace(self, body_from_cam=tuple(map(tuple, body_from_cam.tolist())))

    @property
    def matrix(self) -> Array:
        """3x3 intrinsic matrix K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def project(self, xyz_cam: NDArray[Any]) -> NDArray[Any]:
        """Pixels (N,2) of camera points (N,3); NaN behind the camera."""
        z = xyz_cam[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = xyz_cam[:, :2] / z[:, None]
        xy[z <= 1e-9] = np.nan
        return self.pixels_from_rays(xy)

    def pixels_from_rays(self, xy: NDArray[Any]) -> NDArray[Any]:
        """Pixels (N,2) of undistorted image-plane points (N,2), z = 1."""
        x, y = xy[:, 0], xy[:, 1]
        if self.model == "fisheye":
            x, y = bend_fisheye(self.distortion, x, y)
        elif any(self.distortion):
            x, y = bend_opencv(self.distortion, x, y)
        out = np.empty((2, len(xy)), np.result_type(x, np.float32))
        out[0] = x * self.fx + self.cx
        out[1] = y * self.fy + self.cy
        return out.T

    def pixels_and_jacobian(self, xy: Array) -> tuple[Array, Array]:
        """Pixels (N,2) and d pixel / d xy (N,2,2), xy as `pixels_from_rays`."""
        jacobian = np.zeros((2, 2, len(xy)))
        if self.model == "fisheye":
            slope = slope_fisheye(self.distortion, xy[:, 0], xy[:, 1])
        elif any(self.distortion):
            slope = slope_opencv(self.distortion, xy[:, 0], xy[:, 1])
        else:
            jacobian[0, 0], jacobian[1, 1] = self.fx, self.fy
            return self.pixels_from_rays(xy), jacobian.transpose(2, 0, 1)
        jacobian[0, 0], jacobian[0, 1] = slope.xx * self.fx, slope.xy * self.fx
        jacobian[1, 0], jacobian[1, 1] = slope.xy * self.fy, slope.yy * self.fy
        return self.pixels_from_rays(xy), jacobian.transpose(2, 0, 1)

    def rays_from_pixels(self, xy_px: NDArray[Any]) -> Array:
        """Undistorted image-plane points (N,2), z = 1, of pixels (N,2).

        Exact to 1e-9 wherever the distortion is invertible.
        """
        x = (np.asarray(xy_px[:, 0], np.float64) - self.cx) / self.fx
        y = (np.asarray(xy_px[:, 1], np.float64) - self.cy) / self.fy
        if self.model == "fisheye":
            x, y = straighten_fisheye(self.distortion, x, y)
        elif any(self.distortion):
            x, y = straighten_opencv(self.distortion, x, y)
        return np.stack([x, y], axis=1)

    @cached_property
    def reach(self) -> float:
        """Tangent of the widest angle from the axis that the image shows."""
        right, bottom = self.width - 0.5, self.height - 0.5
        corners = np.array([[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]])
        return float(np.linalg.norm(self.rays_from_pixels(corners), axis=1).max())

    def scaled_to(self, width: int, height: int) -> Camera:
        """The same camera at another resolution; another aspect is refused."""
        if (width, height) == (self.width, self.height):
            return self
        sx, sy = width / self.width, height / self.height
        if abs(sx / sy - 1.0) > ASPECT_TOLERANCE:
            raise CameraError(
                f"camera calibration is for {self.width}x{self.height} but the images are "
                f"{width}x{height}: the aspect differs, so this calibration cannot be scaled; "
                f"calibrate at the images' own resolution (edge-reloc calibrate)"
            )
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary, the content of a camera file."""
        optional = {"latency_ms": self.latency_ms, "body_from_cam": self.body_from_cam}
        return {
            "model": self.model,
            "width": self.width,
            "height": self.height,
            "fx": self.fx,
            "fy": self.fy,
            "cx": self.cx,
            "cy": self.cy,
            "distortion": list(self.distortion),
            "rms_px": self.rms_px,
            **{key: value for key, value in optional.items() if value is not None},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "camera") -> Camera:
        """Inverse of `to_dict`; unknown or missing keys raise CameraError."""
        needed = {"model", "width", "height", "fx", "fy", "cx", "cy"}
        known = needed | {"distortion", "rms_px", "latency_ms", "body_from_cam"}
        unknown, missing = set(values) - known, needed - set(values)
        if unknown or missing:
            problem = f"unknown keys {sorted(unknown)}" if unknown else f"no {sorted(missing)}"
            raise CameraError(f"{where}: {problem}; expected {sorted(known)}")
        try:
            return cls(
                model=str(values["model"]),
                width=int(values["width"]),
                height=int(values["height"]),
                fx=float(values["fx"]),
                fy=float(values["fy"]),
                cx=float(values["cx"]),
                cy=float(values["cy"]),
                distortion=tuple(float(k) for k in values.get("distortion", ())),
                rms_px=None if values.get("rms_px") is None else float(values["rms_px"]),
                latency_ms=None
                if values.get("latency_ms") is None
                else float(values["latency_ms"]),
                body_from_cam=values.get("body_from_cam"),
            )
        except (TypeError, ValueError, OverflowError, CameraError) as error:
            raise CameraError(f"{where}: {error}") from error


def _short(number: int) -> str:
    """A whole number for people, who need not read all of its digits."""
    return f"{number:.3g}" if abs(number) < 1 << 1000 else "more than 1e300"


def read_camera(path: str | Path) -> Camera:
    """Read a camera file (JSON as written by `write_camera`)."""
    path = Path(path)
    try:
        values = json.loads(read_small(path))
    except FileNotFoundError:
        raise CameraError(
            f"{path}: no such camera file; make one with 'edge-reloc calibrate'"
        ) from None
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # no JSON, no text, a number without end
        raise CameraError(f"{path}: not a camera file (JSON expected): {error}") from error
    if not isinstance(values, dict):
        raise CameraError(f"{path}: expected a JSON object with fx, fy, cx, cy")
    return Camera.from_dict(values, str(path))


def write_camera(path: str | Path, camera: Camera) -> None:
    """Write a camera file, whole or not at all."""
    write_atomic(path, json.dumps(camera.to_dict(), indent=2) + "\n")
