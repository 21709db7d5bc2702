"""Latitude and longitude of places in Universal Transverse Mercator (UTM, WGS 84).

Krüger's series in the third flattening to its sixth order (Karney, Journal of Geodesy 2011):
exact to nanometres within a zone and far beyond it.
"""

from __future__ import annotations

from math import atan, atan2, atanh, cos, cosh, degrees, hypot, sin, sinh, sqrt

from edge_reloc.geometry.geodesy import ECCENTRICITY_SQUARED, FLATTENING, SEMI_MAJOR_M

SCALE = 0.9996  # on the central meridian
FALSE_EASTING_M, FALSE_NORTHING_M = 500_000.0, 10_000_000.0  # the latter in the south
_N = FLATTENING / (2 - FLATTENING)
_RECTIFYING_M = SEMI_MAJOR_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
_BETA = (
    _N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96 - _N**4 / 360 - 81 * _N**5 / 512
    + 96199 * _N**6 / 604800,
    _N**2 / 48 + _N**3 / 15 - 437 * _N**4 / 1440 + 46 * _N**5 / 105 - 1118711 * _N**6 / 3870720,
    17 * _N**3 / 480 - 37 * _N**4 / 840 - 209 * _N**5 / 4480 + 5569 * _N**6 / 90720,
    4397 * _N**4 / 161280 - 11 * _N**5 / 504 - 830251 * _N**6 / 7257600,
    4583 * _N**5 / 161280 - 108847 * _N**6 / 3991680,
    20648693 * _N**6 / 638668800,
)  # fmt: skip
NEWTON_STEPS = 4  # from micrometres on, each squares the error


def geodetic_from_utm(
    easting_m: float, northing_m: float, zone: int, *, south: bool
) -> tuple[float, float]:
    """Latitude and longitude, degrees."""
    xi = (northing_m - (FALSE_NORTHING_M if south else 0.0)) / (SCALE * _RECTIFYING_M)
    eta = (easting_m - FALSE_EASTING_M) / (SCALE * _RECTIFYING_M)
    real, imaginary = xi, eta
    for j, beta in enumerate(_BETA, start=1):
        real -= beta * sin(2 * j * xi) * cosh(2 * j * eta)
        imaginary -= beta * cos(2 * j * xi) * sinh(2 * j * eta)
    conformal = sin(real) / hypot(sinh(imaginary), cos(real))  # tangent of that latitude
    longitude = degrees(atan2(sinh(imaginary), cos(real))) + 6 * zone - 183
    return degrees(atan(_tangent_of_latitude(conformal))), (longitude + 180) % 360 - 180


def _tangent_of_latitude(conformal: float) -> float:
    """Of the latitude whose conformal one has this tangent; Newton's method."""
    eccentricity = sqrt(ECCENTRICITY_SQUARED)
    tangent = conformal / (1 - ECCENTRICITY_SQUARED)
    for _ in range(NEWTON_STEPS):
        root = sqrt(1 + tangent**2)
        sigma = sinh(eccentricity * atanh(eccentricity * tangent / root))
        found = tangent * sqrt(1 + sigma**2) - sigma * root
        slope = (sqrt((1 + found**2) * (1 + tangent**2)) * (1 - ECCENTRICITY_SQUARED)) / (
            1 + (1 - ECCENTRICITY_SQUARED) * tangent**2
        )
        tangent += (conformal - found) / slope
    return tangent
