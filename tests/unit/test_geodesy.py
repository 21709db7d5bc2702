"""Places of a georeferenced world in latitude, longitude and altitude."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc.geometry.geodesy import (
    SEMI_MAJOR_M,
    SEMI_MINOR_M,
    ecef_from_geodetic,
    enu_from_geodetic,
    geodetic_from_enu,
)

EXACT_M = 1e-6  # a thousandth of the promised millimetre, a thousand times float64's steps
ORIGINS = [
    {"latitude_deg": 48.2, "longitude_deg": 16.37, "altitude_m": 171.0},
    {"latitude_deg": -33.9, "longitude_deg": 151.2, "altitude_m": 20.0},
    {"latitude_deg": 0.0, "longitude_deg": 179.9999, "altitude_m": -40.0},
    {"latitude_deg": 89.9999, "longitude_deg": -30.0, "altitude_m": 3000.0},
    {"latitude_deg": 90.0, "longitude_deg": 0.0, "altitude_m": 0.0},
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_places_within_100_km_come_back(origin: dict[str, float]) -> None:
    for xyz in np.random.default_rng(0).uniform(-1e5, 1e5, (200, 3)):
        back = enu_from_geodetic(*geodetic_from_enu(xyz, origin), origin)
        assert np.abs(back - xyz).max() < EXACT_M


def test_the_axes_are_east_north_and_up() -> None:
    origin = ORIGINS[0]
    at = tuple(origin.values())
    assert np.allclose(geodetic_from_enu((0.0, 0.0, 0.0), origin), at, atol=1e-12)
    east, north, up = (geodetic_from_enu(10 * axis, origin) for axis in np.eye(3))
    assert east.longitude_deg > at[1] and abs(east.latitude_deg - at[0]) < 1e-9
    assert north.latitude_deg > at[0] and abs(north.longitude_deg - at[1]) < 1e-9
    assert abs(up.altitude_m - at[2] - 10) < EXACT_M
    # A minute of latitude is a sea mile, by whichever definition, to half a percent.
    assert abs(geodetic_from_enu((0.0, 1852.0, 0.0), origin)[0] - at[0] - 1 / 60) < 1e-4


def test_the_ellipsoid_is_that_of_wgs_84() -> None:
    assert np.allclose(ecef_from_geodetic(0, 90, 0), (0, SEMI_MAJOR_M, 0), atol=1e-8)
    assert np.allclose(ecef_from_geodetic(-90, 0, 0), (0, 0, -6356752.314245), atol=1e-6)
    assert abs(SEMI_MINOR_M - 6356752.314245) < 1e-6


@pytest.mark.parametrize("origin", ORIGINS)
def test_it_agrees_with_pymap3d(origin: dict[str, float]) -> None:
    pymap3d = pytest.importorskip("pymap3d", reason="pymap3d comes with the extra 'export'")
    for xyz in np.random.default_rng(1).uniform(-1e5, 1e5, (50, 3)):
        ours = geodetic_from_enu(xyz, origin)
        theirs = pymap3d.enu2geodetic(*xyz, *origin.values())
        # Angles near a pole say little of a place: compare where both lie.
        away = ecef_from_geodetic(*ours) - ecef_from_geodetic(*(float(v) for v in theirs))
        assert np.linalg.norm(away) < EXACT_M
        enu = pymap3d.geodetic2enu(*ours, *origin.values())
        assert np.abs(enu_from_geodetic(*ours, origin) - np.array(enu, float)).max() < EXACT_M
