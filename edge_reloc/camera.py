"""Camera models: pixels from camera points, rays from pixels.

Pixel (0, 0) is the centre of the top-left pixel, as in OpenCV. COLMAP puts it
at (0.5, 0.5): that half pixel is removed where a COLMAP model is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import CameraError
from .files import write_atomic

Array = NDArray[np.float64]

# model -> number of distortion coefficients
MODELS = {"pinhole": 0, "opencv": 8, "fisheye": 4}
ASPECT_TOLERANCE = 0.005  # relative; sensor modes round to a pixel or two


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Intrinsics of one camera at one resolution.

    model: "pinhole"; "opencv" (radial-tangential k1 k2 p1 p2 k3 k4 k5 k6, as
    `cv2.calibrateCamera`); "fisheye" (k1 k2 k3 k4, as `cv2.fisheye`).
    fx, fy, cx, cy and width, height are pixels. `distortion` is padded with
    zeros to the model's length. `rms_px` is the calibration's held-out
    reprojection error, None when it was never measured.
    """

    model: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    rms_px: float | None = None

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise CameraError(
                f"camera model: found '{self.model}', expected one of {', '.join(MODELS)}"
            )
        if self.width < 16 or self.height < 16:
            raise CameraError(
                f"camera size: found {self.width}x{self.height}, expected at least 16x16 pixels"
            )
        if not (self.fx > 0 and self.fy > 0 and np.all(np.isfinite(self.parameters))):
            raise CameraError(
                f"camera focal length: found fx={self.fx} fy={self.fy}, expected positive pixels"
            )
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
        return np.array([self.fx, self.fy, self.cx, self.cy, *self.distortion])

    @property
    def matrix(self) -> Array:
        """3x3 intrinsic matrix K."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    def project(self, xyz_cam: Array) -> Array:
        """Pixels (N,2) of camera points (N,3); NaN behind the camera."""
        z = xyz_cam[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = xyz_cam[:, :2] / z[:, None]
        xy[z <= 1e-9] = np.nan
        return self.pixels_from_rays(xy)

    def pixels_from_rays(self, xy: Array) -> Array:
        """Pixels (N,2) of undistorted image-plane points (N,2), z = 1."""
        out = self._distort(xy)
        out[:, 0] = out[:, 0] * self.fx + self.cx
        out[:, 1] = out[:, 1] * self.fy + self.cy
        return out

    def pixels_and_jacobian(self, xy: Array) -> tuple[Array, Array]:
        """Pixels (N,2) and d pixel / d xy (N,2,2), xy as `pixels_from_rays`."""
        pixels = self.pixels_from_rays(xy)
        jacobian = np.zeros((len(xy), 2, 2))
        if not any(self.distortion) and self.model != "fisheye":
            jacobian[:, 0, 0], jacobian[:, 1, 1] = self.fx, self.fy
            return pixels, jacobian
        step = 1e-5
        for axis in range(2):
            shift = np.zeros(2)
            shift[axis] = step
            ahead, behind = self.pixels_from_rays(xy + shift), self.pixels_from_rays(xy - shift)
            jacobian[:, :, axis] = (ahead - behind) / (2 * step)
        return pixels, jacobian

    def rays_from_pixels(self, xy_px: NDArray[Any]) -> Array:
        """Undistorted image-plane points (N,2), z = 1, of pixels (N,2).

        Fixed-point start, then Newton; exact to 1e-9 wherever the distortion
        is invertible.
        """
        target = np.empty((len(xy_px), 2))
        target[:, 0] = (xy_px[:, 0] - self.cx) / self.fx
        target[:, 1] = (xy_px[:, 1] - self.cy) / self.fy
        if self.model == "fisheye":
            return self._undistort_fisheye(target)
        if not any(self.distortion):
            return target
        xy = target.copy()
        for _ in range(3):
            xy = target - (self._distort(xy) - xy)
        step = 1e-6
        for _ in range(4):
            error = self._distort(xy) - target
            dx = (self._distort(xy + [step, 0.0]) - self._distort(xy - [step, 0.0])) / (2 * step)
            dy = (self._distort(xy + [0.0, step]) - self._distort(xy - [0.0, step])) / (2 * step)
            det = dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0]
            det = np.where(np.abs(det) < 1e-6, 1e-6, det)
            xy = xy - np.stack(
                [
                    (dy[:, 1] * error[:, 0] - dy[:, 0] * error[:, 1]) / det,
                    (dx[:, 0] * error[:, 1] - dx[:, 1] * error[:, 0]) / det,
                ],
                axis=1,
            )
        return xy

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

    def _distort(self, xy: Array) -> Array:
        if self.model == "fisheye":
            k1, k2, k3, k4 = self.distortion
            r = np.sqrt((xy * xy).sum(axis=1))
            theta = np.arctan(r)
            t2 = theta * theta
            bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            scale = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
            return np.asarray(xy * scale[:, None])
        if not any(self.distortion):
            return xy.copy()
        k1, k2, p1, p2, k3, k4, k5, k6 = self.distortion
        x, y = xy[:, 0], xy[:, 1]
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=1,
        )

    def _undistort_fisheye(self, target: Array) -> Array:
        k1, k2, k3, k4 = self.distortion
        bent = np.sqrt((target * target).sum(axis=1))
        theta = np.minimum(bent, 1.5)
        for _ in range(10):
            t2 = theta * theta
            value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - bent
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            theta = np.clip(theta - value / np.where(np.abs(slope) < 1e-6, 1e-6, slope), 0, 1.55)
        scale = np.where(bent > 1e-9, np.tan(theta) / np.maximum(bent, 1e-9), 1.0)
        return np.asarray(target * scale[:, None])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary, the content of a camera file."""
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
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "camera") -> Camera:
        """Inverse of `to_dict`; unknown or missing keys raise CameraError."""
        known = {"model", "width", "height", "fx", "fy", "cx", "cy", "distortion", "rms_px"}
        needed = known - {"distortion", "rms_px"}
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
            )
        except (TypeError, ValueError) as error:
            raise CameraError(f"{where}: {error}") from error


def read_camera(path: str | Path) -> Camera:
    """Read a camera file (JSON as written by `write_camera`)."""
    path = Path(path)
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise CameraError(
            f"{path}: no such camera file; make one with 'edge-reloc calibrate'"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CameraError(f"{path}: not a camera file (JSON expected): {error}") from error
    if not isinstance(values, dict):
        raise CameraError(f"{path}: expected a JSON object with fx, fy, cx, cy")
    return Camera.from_dict(values, str(path))


def write_camera(path: str | Path, camera: Camera) -> None:
    """Write a camera file, whole or not at all."""
    write_atomic(path, json.dumps(camera.to_dict(), indent=2) + "\n")
