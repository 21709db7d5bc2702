"""Sensors of common cameras, from their makers' specifications.

Where a model has one lens its focal length is given too, so that a photo of
another lens of the same phone is not taken for it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FOUR_THIRDS, THREE_HALVES = 4 / 3, 3 / 2
LENS_TOLERANCE = 0.06  # relative: EXIF rounds the focal length of small lenses


class Sensor(NamedTuple):
    """Full sensor: photos of other aspects are cut out of it."""

    width_mm: float
    aspect: float  #: width over height
    focal_mm: float | None = None  #: of the only lens


_SMALL = Sensor(6.17, FOUR_THIRDS)  # 1/2.3 inch
_INCH = Sensor(13.2, THREE_HALVES)
_APS = Sensor(23.5, THREE_HALVES)
_APS_CANON = Sensor(22.3, THREE_HALVES)
_FULL = Sensor(35.9, THREE_HALVES)
_MICRO = Sensor(17.3, FOUR_THIRDS)

# Patterns of the whole model name, lower case, without the maker's name.
_TABLE: dict[str, Sensor] = {
    # DJI: Phantom 2 to 4, Inspire, Mavic, Air, Mini, Spark
    r"fc200": _SMALL._replace(focal_mm=5.0),
    r"fc300[csx]|fc300se|fc330": Sensor(6.16, FOUR_THIRDS, 3.61),
    r"fc350z?": Sensor(6.16, FOUR_THIRDS),
    r"fc220": _SMALL._replace(focal_mm=4.73),
    r"fc550(raw)?|fc6520": _MICRO,
    r"fc6310[rs]?|fc6510": _INCH._replace(focal_mm=8.8),
    r"fc6540": _APS,
    r"fc1102|fc2103|fc2204": _SMALL,
    r"fc7[23]03": _SMALL._replace(focal_mm=4.49),
    r"fc3170": Sensor(6.4, FOUR_THIRDS, 4.5),
    r"fc3411": _INCH._replace(focal_mm=8.38),
    r"fc3582|fc8482|fc8282": Sensor(9.7, FOUR_THIRDS, 6.72),
    r"l1d-20c": _INCH._replace(focal_mm=10.26),
    r"l2d-20c|m3e|m3m": Sensor(17.3, FOUR_THIRDS, 12.29),
    r"m3t": Sensor(6.4, FOUR_THIRDS, 4.4),
    r"zenmusep1": _FULL,
    # other drones
    r"anafi": Sensor(5.9, FOUR_THIRDS, 4.0),
    r"xt701": Sensor(6.4, FOUR_THIRDS, 4.73),
    r"xt705": _INCH._replace(focal_mm=10.57),
    r"e90": _INCH._replace(focal_mm=8.3),
    r"cgo3\+?": _SMALL,
    # action cameras
    r"hero ?[3-8].*": _SMALL,
    # phones whose main lens is known
    r"iphone (6|6 plus)": Sensor(4.9, FOUR_THIRDS, 4.15),
    r"iphone (6s|6s plus|se)": Sensor(4.92, FOUR_THIRDS, 4.15),
    r"iphone (7|7 plus|8|8 plus)": Sensor(4.92, FOUR_THIRDS, 3.99),
    r"iphone (xs|xs max|xr|11|11 pro|11 pro max)": Sensor(5.65, FOUR_THIRDS, 4.25),
    r"pixel 2( xl)?|pixel [34]a?( xl)?": Sensor(5.65, FOUR_THIRDS, 4.42),
    r"sm-g9[35].*": Sensor(5.65, FOUR_THIRDS, 4.2),
    # compact and system cameras
    r"dsc-rx100.*": _INCH,
    r"dsc-rx1.*": _FULL,
    r"dsc-(wx|hx).*": _SMALL,
    r"ilce-[179].*": _FULL,
    r"ilce-[56q].*|nex-.*": _APS,
    r"eos[- ](5d|6d|5ds|r|r3|r5|r6|r8|rp|ra|1d x|1ds)( mark.*)?|eos 5ds ?r?": _FULL,
    r"eos[- ](m|m\d+|7d|r7|r10|r50|\d0d|\d{3,4}d|(digital )?(rebel|kiss).*)( mark.*)?": _APS_CANON,
    r"powershot (s1[012]0|s9[05]|g1[0-6])": Sensor(7.44, FOUR_THIRDS),
    r"powershot elph.*|(digital )?ixus.*|powershot sx.*": _SMALL,
    r"(nikon )?d([678]\d0e?|[3-6]s?|df)": _FULL,
    r"(nikon )?z ?[5-9](_?2|ii)?": _FULL,
    r"(nikon )?d(3\d00|5\d00|7\d+|40x?|[5689]0|300s?|500)|(nikon )?z ?(30|50|fc)": _APS,
    r"x-(t|e|pro|h|s|m|a)\d.*|x100.*": _APS,
    r"gr( ii|digital)?|gr iiix?": _APS,
    r"(e-m|e-p|dmc-g|dc-g|pen-f|om-).*": _MICRO,
}


def find_sensor(make: str | None, model: str | None) -> Sensor | None:
    """The sensor of a camera by EXIF make and model; None when not listed."""
    name = (model or "").lower().strip()
    for word in (make or "").lower().split():
        name = name.removeprefix(word).strip()
    for pattern, sensor in _TABLE.items():
        if name and re.fullmatch(pattern, name):
            return sensor
    return None
