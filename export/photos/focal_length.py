"""The focal length in pixels that a photo's header tells, and how surely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from .sensors import FOUR_THIRDS, LENS_TOLERANCE, THREE_HALVES, Sensor, find_sensor

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # what "35 mm equivalent" refers to
FIELD_OF_VIEW_DEG = (10.0, 140.0)  # of the longer side; what is outside is no lens
SENSOR_MM = (2.0, 60.0)  # longer side; what is outside is a resolution gone wrong
SAME_FACTOR = 1.4  # figures further apart contradict each other
SAME_ASPECT = 0.02  # relative: rounded sizes are no crop
LARGE_SENSOR_MM = 30.0  # width from which millimetres are their own equivalent
CROP_SIGMA = 0.04  # which part of a sensor a crop shows is a guess

CALIBRATION = "XMP calibration"
FOCAL_PLANE = "focal plane resolution"
CAMERA_TABLE = "camera table"
FILM = "EXIF 35 mm"


class FocalLength(NamedTuple):
    """px of the photo's own size; sigma relative."""

    px: float
    sigma: float
    source: str


@dataclass(frozen=True, kw_only=True)
class LensFacts:
    """What the header says of lens and sensor; None where it does not."""

    make: str | None = None
    model: str | None = None
    focal_mm: float | None = None
    film_mm: float | None = None  #: 35 mm equivalent
    digital_zoom: float = 1.0
    plane_px_per_mm: float | None = None  #: of the original size
    original: tuple[float, float] | None = None  #: size when taken, pixels
    calibrated_px: float | None = None  #: of the original size
    calibrated_mm: float | None = None


def focal_length(width: int, height: int, lens: LensFacts) -> FocalLength | None:
    """The best figure that no majority of the others contradicts.

    Order: a calibration in the header, millimetres with the resolution of the
    focal plane, millimetres with a listed sensor, the 35 mm equivalent.
    Figures outside FIELD_OF_VIEW_DEG count as absent. None where two figures
    contradict each other and neither is a calibration or a listed camera.
    """
    low, high = (0.5 / math.tan(math.radians(a) / 2) for a in reversed(FIELD_OF_VIEW_DEG))
    longer = max(width, height)
    figures = [f for f in _figures(width, height, lens) if low <= f.px / longer <= high]
    for figure in figures:
        if 2 * sum(_same(figure, other) for other in figures) > len(figures):
            return figure
    for source in (CALIBRATION, CAMERA_TABLE):
        for figure in figures:
            if figure.source == source:
                return figure
    return None


def _same(a: FocalLength, b: FocalLength) -> bool:
    return abs(math.log(a.px / b.px)) < math.log(SAME_FACTOR)


def _figures(width: int, height: int, lens: LensFacts) -> list[FocalLength]:
    """All that the header tells, best first."""
    sensor = find_sensor(lens.make, lens.model)
    calibrated_px, plane = _of_original(width, height, lens)
    table = None if sensor is None else _of_sensor(width, height, sensor)
    out = []
    if calibrated_px is not None:
        out.append(FocalLength(calibrated_px.px, calibrated_px.sigma, CALIBRATION))
    pitch = plane or table
    if lens.calibrated_mm is not None and pitch is not None:
        sigma = math.hypot(0.01, pitch.sigma)
        out.append(FocalLength(lens.calibrated_mm * pitch.px, sigma, CALIBRATION))
    focal_mm = lens.focal_mm
    if focal_mm is not None and _is_film_equivalent(focal_mm, lens.film_mm, sensor):
        focal_mm = None
    if focal_mm is not None:
        zoomed_mm, rounding = focal_mm * lens.digital_zoom, _rounding(focal_mm)
        if plane is not None:
            sigma = math.hypot(0.02, rounding, plane.sigma)
            out.append(FocalLength(zoomed_mm * plane.px, sigma, FOCAL_PLANE))
        if table is not None and sensor is not None and _is_lens(focal_mm, sensor):
            sigma = math.hypot(0.02, rounding, table.sigma)
            out.append(FocalLength(zoomed_mm * table.px, sigma, CAMERA_TABLE))
    if lens.film_mm is not None:
        out.append(_from_film(width, height, lens.film_mm, lens.digital_zoom, sensor, out))
    return out


class _Scaled(NamedTuple):
    """A figure for the photo's own pixels, and how sure its size makes it."""

    px: float
    sigma: float


def _of_original(width: int, height: int, lens: LensFacts) -> tuple[_Scaled | None, _Scaled | None]:
    """Calibrated px, and px per mm, brought to this size from the original's."""
    longer, original = max(width, height), lens.original
    if original is None or max(original) < longer:
        original = (width, height)
    full = frame_width(width, height, max(original) / min(original))
    scale = full / max(original)
    sigma = CROP_SIGMA if full > longer * (1 + SAME_ASPECT) else 0.0
    px, plane = lens.calibrated_px, lens.plane_px_per_mm
    if plane is not None and not SENSOR_MM[0] <= max(original) / plane <= SENSOR_MM[1]:
        plane = None
    return (
        None if px is None else _Scaled(px * scale, sigma),
        None if plane is None else _Scaled(plane * scale, sigma),
    )


def _of_sensor(width: int, height: int, sensor: Sensor) -> _Scaled:
    """Px per mm by a listed sensor, out of which the photo may be cut."""
    full = frame_width(width, height, sensor.aspect)
    cut = full > max(width, height) * (1 + SAME_ASPECT)
    return _Scaled(full / sensor.width_mm, CROP_SIGMA / 2 if cut else 0.0)


def frame_width(width: int, height: int, aspect: float) -> float:
    """Longer side (px) of the smallest frame of an aspect that holds the photo."""
    return max(float(max(width, height)), min(width, height) * aspect)


def _is_film_equivalent(focal_mm: float, film_mm: float | None, sensor: Sensor | None) -> bool:
    """Some write the 35 mm equivalent into both fields, of a small sensor too."""
    if film_mm is None or sensor is None or sensor.width_mm > LARGE_SENSOR_MM:
        return False
    return abs(focal_mm / film_mm - 1) < 0.01


def _is_lens(focal_mm: float, sensor: Sensor) -> bool:
    if sensor.focal_mm is None:
        return True
    tolerance = LENS_TOLERANCE + math.sqrt(3) * _rounding(focal_mm)
    return abs(focal_mm / sensor.focal_mm - 1) < tolerance


def _rounding(value: float) -> float:
    """Relative standard error of a number of so many decimals."""
    decimals = next((d for d in (0, 1) if abs(round(value, d) - value) < 1e-6), 2)
    return float(10.0**-decimals / math.sqrt(12) / value)


def _from_film(
    width: int,
    height: int,
    film_mm: float,
    zoom: float,
    sensor: Sensor | None,
    others: list[FocalLength],
) -> FocalLength:
    """By the diagonal of the full sensor, of which the photo may be a part.

    The equivalent belongs to the lens and does not change when a camera cuts
    16:9 or a square out of its sensor.
    """
    aspect = max(width, height) / min(width, height)
    sigma = math.hypot(0.03, 0.5 / math.sqrt(3) / film_mm)
    low, high = FOUR_THIRDS * (1 - SAME_ASPECT), THREE_HALVES * (1 + SAME_ASPECT)
    if sensor is not None:
        aspect = sensor.aspect
    elif not low <= aspect <= high:
        aspect = FOUR_THIRDS if aspect < low else (FOUR_THIRDS + THREE_HALVES) / 2
        sigma = math.hypot(sigma, CROP_SIGMA)
    full = frame_width(width, height, aspect)
    px = film_mm / FILM_DIAGONAL_MM * full * math.hypot(1.0, 1.0 / aspect)
    if zoom > 1.0:
        # Some makers' equivalent has the digital zoom in it, others' has not.
        told = next((f.px for f in others if f.source in (FOCAL_PLANE, CAMERA_TABLE)), None)
        if told is None:
            sigma = math.hypot(sigma, (zoom - 1.0) / 2)
        elif abs(math.log(px * zoom / told)) < abs(math.log(px / told)):
            px *= zoom
    return FocalLength(px, sigma, FILM)
