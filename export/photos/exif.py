"""What a photo's EXIF and XMP say: camera, place and attitude."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .focal_length import LensFacts, focal_length
from .numbers import finite, within
from .xmp import number, read_fields, signed_angle

log = logging.getLogger(__name__)

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
_MAKE, _MODEL, _LENS = 0x010F, 0x0110, 0xA434
_FOCAL_MM, _FOCAL_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_ORIGINAL_WIDTH, _ORIGINAL_HEIGHT = 0xA002, 0xA003
_PLANE_X, _PLANE_Y, _PLANE_UNIT = 0xA20E, 0xA20F, 0xA210
_UNIT_MM = {1: 25.4, 2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # 1 is "none": taken for inches
FOCAL_MM_RANGE = (0.5, 3000.0)
ALTITUDE_RANGE_M = (-1000.0, 30000.0)  # of photos: mines to high flight
SAME_PLACE_DEG = 0.01  # XMP and EXIF mean the same fix


@dataclass(frozen=True, kw_only=True)
class PhotoFacts:
    """Size of the sensor's picture and what the header tells; None where it does not."""

    name: str
    width: int  #: pixels
    height: int  #: pixels
    quarter_turns: int = 0  #: counter-clockwise, that show the photo upright
    focal_px: float | None = None  #: of this size
    focal_source: str | None = None  #: where that is from, e.g. "EXIF 35 mm"
    focal_sigma: float | None = None  #: its relative standard error
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    focal_mm: float | None = None  #: of the lens, to two decimals
    film_mm: float | None = None  #: 35 mm equivalent
    digital_zoom: float = 1.0
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    altitude_m: float | None = None
    latitude_signed: bool = True  #: False: north or south is not told
    longitude_signed: bool = True  #: False: east or west is not told
    relative_altitude_m: float | None = None  #: above the place of take-off
    gimbal_yaw_deg: float | None = None  #: of the camera, clockwise from north
    gimbal_pitch_deg: float | None = None  #: of the camera, -90 looks straight down
    gimbal_roll_deg: float | None = None
    flight_yaw_deg: float | None = None  #: of the aircraft, clockwise from north
    rtk_sigma_m: tuple[float, float, float] | None = None  #: latitude, longitude, height

    def size_turned(self, quarter_turns: int) -> tuple[int, int]:
        """(width, height) after so many quarter turns."""
        return (self.height, self.width) if quarter_turns % 2 else (self.width, self.height)


class CameraKey(NamedTuple):
    """Photos that agree in all of this were taken by one camera at one zoom."""

    width: int
    height: int
    make: str | None
    model: str | None
    lens: str | None
    focal_mm: float | None
    film_mm: float | None
    digital_zoom: float


def camera_key(fact: PhotoFacts) -> CameraKey:
    """What tells a photo's camera and zoom from those of others."""
    film_mm = fact.film_mm if fact.focal_mm is None else None
    who = (fact.make, fact.model, fact.lens)
    zoom = round(fact.digital_zoom, 2)
    return CameraKey(fact.width, fact.height, *who, fact.focal_mm, film_mm, zoom)


def photo_facts(name: str, width: int, height: int, exif: Any, xmp: bytes | str) -> PhotoFacts:
    """Facts of a header: Pillow's Exif and the XMP packet (empty for none).

    Fields that are missing, no numbers or absurd are None: nothing raises.
    """
    tags = {**_directory(exif, EXIF_IFD), **{t: exif.get(t) for t in (_MAKE, _MODEL)}}
    fields = read_fields(xmp)
    lens = _lens_facts(tags, fields)
    focal = focal_length(width, height, lens)
    latitude, longitude, altitude = _place(_directory(exif, GPS_IFD), fields)
    rtk = [number(fields, f"drone:RtkStd{axis}") for axis in ("Lat", "Lon", "Hgt")]
    return PhotoFacts(
        name=name,
        width=width,
        height=height,
        focal_px=None if focal is None else focal.px,
        focal_source=None if focal is None else focal.source,
        focal_sigma=None if focal is None else focal.sigma,
        make=lens.make,
        model=lens.model,
        lens=_text(tags.get(_LENS)),
        focal_mm=None if lens.focal_mm is None else round(lens.focal_mm, 2),
        film_mm=lens.film_mm,
        digital_zoom=lens.digital_zoom,
        latitude_deg=latitude.degrees,
        longitude_deg=longitude.degrees,
        altitude_m=altitude,
        latitude_signed=latitude.signed,
        longitude_signed=longitude.signed,
        relative_altitude_m=number(fields, "drone:RelativeAltitude"),
        gimbal_yaw_deg=number(fields, "drone:GimbalYawDegree"),
        gimbal_pitch_deg=number(fields, "drone:GimbalPitchDegree"),
        gimbal_roll_deg=number(fields, "drone:GimbalRollDegree"),
        flight_yaw_deg=number(fields, "drone:FlightYawDegree"),
        rtk_sigma_m=None if None in rtk else tuple(rtk),  # type: ignore[arg-type]
    )


def _directory(exif: Any, tag: int) -> dict[int, Any]:
    try:
        return dict(exif.get_ifd(tag))
    except Exception as error:  # a damaged directory raises what its parser raises
        log.debug("EXIF directory %#x not read: %s", tag, error)
        return {}


def _text(value: Any) -> str | None:
    """Text of a field: cut at the first NUL; None when nothing is left."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return (text.split("\0")[0].strip() or None) if isinstance(text, str) else None


def _lens_facts(tags: Mapping[int, Any], fields: Mapping[str, str]) -> LensFacts:
    width, height = (within(tags.get(t), 1, 1e6) for t in (_ORIGINAL_WIDTH, _ORIGINAL_HEIGHT))
    zoom = within(tags.get(_DIGITAL_ZOOM), 1.0, 100.0)
    calibrated_px, calibrated_mm = _calibration(fields)
    return LensFacts(
        make=_text(tags.get(_MAKE)),
        model=_text(tags.get(_MODEL)),
        focal_mm=within(tags.get(_FOCAL_MM), *FOCAL_MM_RANGE),
        film_mm=within(tags.get(_FOCAL_35MM), *FOCAL_MM_RANGE),
        digital_zoom=1.0 if zoom is None else zoom,
        plane_px_per_mm=_plane_px_per_mm(tags),
        original=None if width is None or height is None else (width, height),
        calibrated_px=calibrated_px,
        calibrated_mm=calibrated_mm,
    )


def _plane_px_per_mm(tags: Mapping[int, Any]) -> float | None:
    unit = _UNIT_MM.get(int(within(tags.get(_PLANE_UNIT, 2), 1, 5) or 2), 25.4)
    x, y = (within(tags.get(t), 1e-3, 1e9) for t in (_PLANE_X, _PLANE_Y))
    if x is None or (y is not None and abs(y / x - 1) > 0.05):
        return None  # pixels are square
    return x / unit


def _calibration(fields: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Focal length in px of the original size, and in mm."""
    if fields.get("camera:ModelType", "perspective").lower() != "perspective":
        return None, None
    dewarp = fields.get("drone:DewarpData", "").partition(";")[2].split(",")
    px = within(dewarp[0], 1.0, 1e6) or number(fields, "drone:CalibratedFocalLength")
    value = number(fields, "camera:PerspectiveFocalLength")
    if fields.get("camera:PerspectiveFocalLengthUnits", "mm").lower() in ("px", "pixel", "pixels"):
        return px or value, None
    return px, within(value, *FOCAL_MM_RANGE)


class _Angle(NamedTuple):
    degrees: float | None
    signed: bool


def _place(
    gps: Mapping[int, Any], fields: Mapping[str, str]
) -> tuple[_Angle, _Angle, float | None]:
    """Latitude, longitude and altitude; all None where there is no fix."""
    none = _Angle(None, True)
    latitude = _angle(gps.get(2), gps.get(1), "NS", 90.0, signed_angle(fields, "Latitude"))
    longitude = _angle(gps.get(4), gps.get(3), "EW", 180.0, signed_angle(fields, "Longitude"))
    altitude = finite(gps.get(6))
    if altitude is not None and gps.get(5) in (1, b"\x01"):
        altitude = -altitude
    if altitude is None:
        altitude = number(fields, "drone:AbsoluteAltitude")
    nowhere = latitude.degrees is None or longitude.degrees is None
    if nowhere or (latitude.degrees == 0 and longitude.degrees == 0):
        return none, none, None
    if altitude is not None and within(altitude, *ALTITUDE_RANGE_M) is None:
        return none, none, None
    return latitude, longitude, altitude


def _angle(value: Any, reference: Any, signs: str, limit: float, told: float | None) -> _Angle:
    """An EXIF angle; `told` is the same with its sign, from XMP.

    Without a letter, a minus or XMP the hemisphere is unknown: never guessed.
    """
    told = within(told, -limit, limit)
    size = _degrees(value)
    if size is None or abs(size) > limit:
        return _Angle(told, True)
    letter = (_text(reference) or "?")[0].upper()
    if letter in signs:
        return _Angle(-abs(size) if letter == signs[1] else size, True)
    if size < 0:
        return _Angle(size, True)
    if told is not None and abs(abs(told) - size) < SAME_PLACE_DEG:
        return _Angle(-size if told < 0 else size, True)
    return _Angle(size, size == 0)


def _degrees(value: Any) -> float | None:
    """Degrees, or with minutes and seconds, as one number."""
    parts = [finite(p) for p in value] if isinstance(value, tuple) else [finite(value)]
    if not 1 <= len(parts) <= 3:
        return None
    degrees, *rest = parts
    minutes_and_seconds = [within(part, 0, 60) for part in rest]
    if degrees is None or None in minutes_and_seconds:
        return None
    size = abs(degrees)
    for part, share in zip(minutes_and_seconds, (60, 3600), strict=False):
        size += (part or 0.0) / share
    return -size if degrees < 0 else size
