"""How late a camera's frames are stamped, against a gyro that turned with it.

Both tell how fast the camera turns. The rate between two frames is measured in the pictures
and belongs to the middle between their stamps; its magnitude, which needs no knowledge of how
the gyro is mounted, is shifted until it agrees best with the gyro's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64, U8, finite_numbers
from edge_reloc.errors import CameraError
from edge_reloc.files import read_small
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import rotation_angle_rad
from edge_reloc.structs import Frame

from .turns import nearest_rotation

LOG_BYTES = 1 << 28  # an hour at 1 kHz
COLUMNS = ("t_ns", "wx", "wy", "wz")
FEATURES, QUALITY, APART = 150, 0.01, 0.02  # APART: of the image's width
LEAST_TRACKED = 20
OUTLIER_RAD = 3e-3
MOST_GAP_S = 0.15  # between two frames: over longer ones the rate changes
SEARCHED_S, STEP_S = 0.5, 1e-3
LEAST_PAIRS = 60
LEAST_CORRELATION = 0.8
LEAST_RATE = 0.2  # rad/s, standard deviation over the recording: slower is no signal
MOST_UNCERTAIN_MS = 10.0


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What the comparison says."""

    #: from the middle of the exposure to the stamp
    latency_ms: float
    #: one standard deviation
    sigma_ms: float
    #: of the two rates, 1 for equal ones
    correlation: float
    #: rates between frames that took part
    pairs: int

    def text(self) -> str:
        """In a line, for a person."""
        return (
            f"latency     {self.latency_ms:.1f} ± {self.sigma_ms:.1f} ms, "
            f"correlation {self.correlation:.3f} over {self.pairs} pairs of frames"
        )


@dataclass
class TurnRates:
    """Of a camera between its frames: middle of the stamps (s) and rad/s."""

    t_s: list[float] = field(default_factory=list)
    rad_s: list[float] = field(default_factory=list)


def read_gyro(path: str | Path) -> tuple[F64, F64]:
    """(N,) seconds and (N,3) rad/s of a CSV with a head line and columns `t_ns,wx,wy,wz`."""
    try:
        text = read_small(path, LOG_BYTES).decode("utf-8-sig")
        with io.StringIO(text, newline="") as stream:
            rows = list(_rows(csv.DictReader(stream, skipinitialspace=True)))
        values = finite_numbers(rows)
        if values is None:
            raise ValueError("some numbers are not finite")
    except OSError as error:
        raise CameraError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        raise CameraError(
            f"{path}: not a log of a gyro ({error}); expected a head line and columns "
            f"{','.join(COLUMNS)}: monotonic nanoseconds and rad/s"
        ) from None
    values = values.reshape(-1, 4)
    values = values[np.argsort(values[:, 0], kind="stable")]
    return values[:, 0], values[:, 1:]


def _rows(lines: Iterable[dict[str, str]]) -> Iterator[tuple[float, ...]]:
    for line in lines:
        t_ns, *rates = (line[name] for name in COLUMNS)
        yield (int(t_ns) * 1e-9, *map(float, rates))


def turn_rates(
    frames: Iterable[Frame], camera: Camera, progress: Callable[[str], None]
) -> TurnRates:
    """How fast the camera turned, from what its frames show."""
    rates, before = TurnRates(), None
    for frame in frames:
        scaled = camera.scaled_to(frame.image.shape[1], frame.image.shape[0])
        if before is not None and 0 < frame.t_ns - before.t_ns < MOST_GAP_S * 1e9:
            angle = turned_rad(before.image, frame.image, scaled)
            if angle is not None:
                rates.t_s.append((before.t_ns + frame.t_ns) * 0.5e-9)
                rates.rad_s.append(angle / ((frame.t_ns - before.t_ns) * 1e-9))
                progress(f"{len(rates.t_s)} pairs, turning at {rates.rad_s[-1]:.1f} rad/s")
        before = frame
    return rates


def turned_rad(before: U8, after: U8, camera: Camera) -> float | None:
    """Angle between two grey images (H,W); None where too little is seen in both."""
    found = cv2.goodFeaturesToTrack(before, FEATURES, QUALITY, APART * before.shape[1])
    if found is None or len(found) < LEAST_TRACKED:
        return None
    moved, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, found, None)
    kept = ok[:, 0] == 1
    if kept.sum() < LEAST_TRACKED:
        return None
    a, b = (_rays(camera, xy[kept, 0]) for xy in (found, moved))
    weight = np.ones(len(a))
    rotation = np.eye(3)
    for _ in range(5):
        rotation = nearest_rotation((b * weight[:, None]).T @ a)
        error = np.linalg.norm(b - a @ rotation.T, axis=1)
        weight = 1.0 / (1.0 + (error / OUTLIER_RAD) ** 2)
    return rotation_angle_rad(rotation)


def _rays(camera: Camera, xy_px: NDArray[np.float32]) -> F64:
    """(N,3) of unit length."""
    xy = camera.rays_from_pixels(xy_px)
    rays = np.column_stack([xy, np.ones(len(xy))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def compare(rates: TurnRates, gyro_s: F64, gyro_rad_s: F64) -> Latency:
    """The shift at which camera and gyro agree best. Raises CameraError where none is clear."""
    camera_s, camera_rate = np.array(rates.t_s), np.array(rates.rad_s)
    inside = np.zeros(0, bool)
    if len(gyro_s) > 1 and len(camera_s):
        inside = (camera_s - SEARCHED_S > gyro_s[0]) & (camera_s + SEARCHED_S < gyro_s[-1])
    camera_s, camera_rate = camera_s[inside], camera_rate[inside]
    if len(camera_s) < LEAST_PAIRS:
        raise CameraError(
            f"latency: {len(camera_s)} pairs of frames lie within the gyro's log, expected "
            f"{LEAST_PAIRS} at least; log the gyro from before until after, by the clock of frames "
            f"(CLOCK_MONOTONIC)"
        )
    if camera_rate.std() < LEAST_RATE:
        raise CameraError(
            f"latency: the camera hardly turned (by {camera_rate.std():.2f} rad/s, expected "
            f"{LEAST_RATE} at least); turn it to and fro quickly about all axes, on one spot"
        )
    speed = np.linalg.norm(gyro_rad_s, axis=1)
    shifts_s = np.arange(-SEARCHED_S, SEARCHED_S + STEP_S / 2, STEP_S)
    agreement = np.array([_agreement(camera_s - s, camera_rate, gyro_s, speed) for s in shifts_s])
    at = int(agreement.argmax())
    best, latency_s, sharpness = _peak(shifts_s, agreement, at)
    if best < LEAST_CORRELATION or not 0 < at < len(shifts_s) - 1:
        raise CameraError(
            f"latency: camera and gyro do not agree (correlation {best:.2f}, expected "
            f"{LEAST_CORRELATION} at least); are both of one rig and of one clock, and is the "
            f"camera calibrated?"
        )
    sigma_s = float(np.sqrt((1 - min(best, 1.0) ** 2) / (sharpness * len(camera_s))))
    if sigma_s * 1e3 > MOST_UNCERTAIN_MS:
        raise CameraError(
            f"latency: known to {sigma_s * 1e3:.0f} ms only, expected {MOST_UNCERTAIN_MS:.0f}; "
            f"turn the camera to and fro more often"
        )
    return Latency(
        latency_ms=latency_s * 1e3,
        sigma_ms=sigma_s * 1e3,
        correlation=best,
        pairs=len(camera_s),
    )


def _agreement(t_s: F64, rate: F64, gyro_s: F64, speed: F64) -> float:
    """Correlation of the camera's rates with the gyro's at these times."""
    return float(np.corrcoef(rate, np.interp(t_s, gyro_s, speed))[0, 1])


def _peak(shifts_s: F64, agreement: F64, at: int) -> tuple[float, float, float]:
    """Height, place (s) and curvature (1/s²) of a parabola about the highest value."""
    around = slice(max(0, at - 5), at + 6)
    a, b, c = np.polyfit(shifts_s[around] - shifts_s[at], agreement[around], 2)
    place = -b / (2 * a) if a < 0 else 0.0
    place = float(np.clip(place, -5 * STEP_S, 5 * STEP_S))
    return float(c + b * place + a * place**2), float(shifts_s[at]) + place, max(-2 * a, 1e-9)
