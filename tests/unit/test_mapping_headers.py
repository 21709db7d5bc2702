"""Focal lengths, places and attitudes out of headers made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_reloc_export.photos.exif import PhotoFacts, camera_key
from edge_reloc_export.photos.listing import read_facts
from edge_reloc_export.photos.positions import gps_from_exif, read_gps
from edge_reloc_export.photos.xmp import read_fields

Image = pytest.importorskip("PIL.Image")
IFDRational = pytest.importorskip("PIL.TiffImagePlugin").IFDRational

NOMINAL = 0.01  # relative: lenses and sensors are specified to two digits or three
MAKE, MODEL, FOCAL, ZOOM, FILM = 0x010F, 0x0110, 0x920A, 0xA404, 0xA405
WIDTH, HEIGHT, PLANE_X, PLANE_Y, UNIT = 0xA002, 0xA003, 0xA20E, 0xA20F, 0xA210
DRONE = 'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"'


def facts(
    folder: Path,
    size: tuple[int, int] = (1024, 576),
    *,
    exif: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
    xmp: str = "",
    name: str = "a.jpg",
) -> PhotoFacts:
    """What is read back from a photo with these tags."""
    header = Image.Exif()
    for tag, value in (exif or {}).items():
        (header if tag in (MAKE, MODEL) else header.get_ifd(0x8769))[tag] = value
    header.get_ifd(0x8825).update(gps or {})
    packet = {"xmp": xmp.encode()} if xmp else {}
    Image.new("RGB", size).save(folder / name, exif=header, **packet)
    return read_facts(folder, [name])[name]


def packet(attributes: str, inner: str = "") -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f"{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


PHANTOM = {MAKE: "DJI", MODEL: "FC300S\0\0\0", FOCAL: 3.61, FILM: 20, WIDTH: 4000, HEIGHT: 2250}
FOCAL_CASES = {
    "16:9 of a listed 4:3 sensor": (PHANTOM, (1024, 576), 3.61 / 6.16 * 1024, "camera table"),
    "35 mm of 1 beside a listed camera": (
        {**PHANTOM, FILM: 1},
        (1024, 576),
        3.61 / 6.16 * 1024,
        "camera table",
    ),
    "35 mm alone, as the sensor is": ({FILM: 28}, (400, 300), 28 / 43.267 * 500, "EXIF 35 mm"),
    # 4:3 and 3:2 sensors give 592 and 569: between them, and not the 543 of this diagonal.
    "35 mm alone, 16:9": ({FILM: 20}, (1024, 576), 580.0, "EXIF 35 mm"),
    "35 mm alone, square": ({FILM: 28}, (300, 300), 28 / 43.267 * 500, "EXIF 35 mm"),
    "35 mm of 1": ({FILM: 1}, (540, 960), None, None),
    "35 mm of 0": ({FILM: 0}, (540, 960), None, None),
    "35 mm of 4000": ({FILM: 4000}, (540, 960), None, None),
    "focal plane in inches, resized": (
        {FOCAL: 24.0, PLANE_X: 4438.36, PLANE_Y: 4445.97, UNIT: 2, WIDTH: 3888, HEIGHT: 2592},
        (972, 648),
        24.0 * 4438.36 / 25.4 / 4,
        "focal plane resolution",
    ),
    "focal plane in cm": (
        {FOCAL: 10.0, PLANE_X: 1000.0, PLANE_Y: 1000.0, UNIT: 3, WIDTH: 2000, HEIGHT: 1500},
        (2000, 1500),
        1000.0,
        "focal plane resolution",
    ),
    "focal plane in mm": (
        {FOCAL: 10.0, PLANE_X: 100.0, PLANE_Y: 100.0, UNIT: 4, WIDTH: 2000, HEIGHT: 1500},
        (2000, 1500),
        1000.0,
        "focal plane resolution",
    ),
    "focal plane in um": (
        {FOCAL: 10.0, PLANE_X: 0.1, PLANE_Y: 0.1, UNIT: 5, WIDTH: 2000, HEIGHT: 1500},
        (2000, 1500),
        1000.0,
        "focal plane resolution",
    ),
    # 72 per inch belongs to paper: a sensor of 700 mm.
    "absurd focal plane": (
        {FOCAL: 10.0, FILM: 30, PLANE_X: 72.0, PLANE_Y: 72.0, UNIT: 2, WIDTH: 2000, HEIGHT: 1500},
        (2000, 1500),
        30 / 43.267 * 2500,
        "EXIF 35 mm",
    ),
    # Resized, and the size rewritten: half the sensor, twice the angle.
    "focal plane against 35 mm": (
        {FOCAL: 10.0, FILM: 60, PLANE_X: 50.0, PLANE_Y: 50.0, UNIT: 4, WIDTH: 1000, HEIGHT: 750},
        (1000, 750),
        None,
        None,
    ),
    "two against one": (
        {**PHANTOM, PLANE_X: 300.0, PLANE_Y: 300.0, UNIT: 4},
        (1024, 576),
        3.61 / 6.16 * 1024,
        "camera table",
    ),
    "digital zoom": ({**PHANTOM, ZOOM: 2.0}, (1024, 576), 3.61 / 6.16 * 2048, "camera table"),
    "digital zoom of 0 is none": (
        {**PHANTOM, ZOOM: 0.0},
        (1024, 576),
        3.61 / 6.16 * 1024,
        "camera table",
    ),
    "the equivalent in both fields": (
        {MAKE: "DJI", MODEL: "FC6310", FOCAL: 24.0, FILM: 24},
        (1200, 800),
        24 / 43.267 * 1442.2,
        "EXIF 35 mm",
    ),
    "another lens of a listed phone": (
        {MAKE: "Apple", MODEL: "iPhone 11", FOCAL: 1.54, FILM: 13},
        (4032, 3024),
        13 / 43.267 * 5040,
        "EXIF 35 mm",
    ),
    "upright photo": (
        {MAKE: "Canon", MODEL: "Canon EOS 5D Mark II", FOCAL: 35.0},
        (800, 1200),
        35 / 35.9 * 1200,
        "camera table",
    ),
    "nothing": ({}, (640, 480), None, None),
    "0/0 millimetres": ({MODEL: "FC300S", FOCAL: IFDRational(0, 0)}, (640, 480), None, None),
    "words": ({MODEL: "FC300S", FOCAL: "wide", FILM: "none"}, (640, 480), None, None),
}


@pytest.mark.parametrize("case", FOCAL_CASES, ids=str)
def test_the_focal_length_is_that_of_the_most_trusted_field(tmp_path: Path, case: str) -> None:
    exif, size, expected, source = FOCAL_CASES[case]
    fact = facts(tmp_path, size, exif=exif)
    assert fact.focal_source == source
    if expected is None:
        assert fact.focal_px is None and fact.focal_sigma is None
    else:
        assert fact.focal_px == pytest.approx(expected, rel=NOMINAL)
        assert 0.005 < fact.focal_sigma < 0.15


def test_a_sensor_that_is_cut_makes_the_equivalent_less_sure(tmp_path: Path) -> None:
    whole, cut = (facts(tmp_path, size, exif={FILM: 24}) for size in ((640, 480), (640, 360)))
    assert cut.focal_sigma > whole.focal_sigma
    rounded, exact = (facts(tmp_path, exif={**PHANTOM, FOCAL: f}) for f in (4.0, 3.61))
    assert rounded.focal_sigma > 2 * exact.focal_sigma


@pytest.mark.parametrize(
    ("xmp", "expected"),
    [
        (packet(f'{DRONE} drone-dji:CalibratedFocalLength="2400.5"'), 600.1),
        (
            packet(f'{DRONE} drone-dji:DewarpData="2020-01-01;2390.0,2391.0,3,4,0,0,0,0,0"'),
            597.5,
        ),
        (
            packet(
                'xmlns:Camera="http://pix4d.com/camera/1.0"',
                "<Camera:PerspectiveFocalLength>3.7</Camera:PerspectiveFocalLength>"
                "<Camera:PerspectiveFocalLengthUnits>mm</Camera:PerspectiveFocalLengthUnits>",
            ),
            3.7 / 6.16 * 1000,
        ),
    ],
    ids=["calibrated", "dewarp", "millimetres"],
)
def test_a_calibration_in_the_header_comes_first(tmp_path: Path, xmp: str, expected: float) -> None:
    exif = {**PHANTOM, WIDTH: 4000, HEIGHT: 3000}
    fact = facts(tmp_path, (1000, 750), exif=exif, xmp=xmp)
    assert fact.focal_source == "XMP calibration"
    assert fact.focal_px == pytest.approx(expected, rel=1e-3)
    fisheye = xmp.replace("<rdf:Description", '<rdf:Description Camera:ModelType="fisheye"')
    assert facts(tmp_path, exif=exif, xmp=fisheye).focal_source == "camera table"


def test_photos_of_two_zooms_have_two_keys(tmp_path: Path) -> None:
    zooms = [facts(tmp_path, exif={MODEL: "C", FOCAL: f}) for f in (18.0, 18.001, 55.0)]
    keys = [camera_key(fact) for fact in zooms]
    assert keys[0] == keys[1] != keys[2]
    assert camera_key(facts(tmp_path, exif={MODEL: "D", FOCAL: 18.0})) != keys[0]
    assert camera_key(facts(tmp_path, (640, 480), exif={MODEL: "C", FOCAL: 18.0})) != keys[0]
    assert camera_key(facts(tmp_path, exif={FILM: 28})) != camera_key(
        facts(tmp_path, exif={FILM: 70})
    )


@pytest.mark.parametrize("form", ["attributes", "elements", "other prefix", "torn"])
def test_drone_fields_are_read(tmp_path: Path, form: str) -> None:
    values = {
        "RelativeAltitude": "+40.30",
        "GimbalPitchDegree": "-89.90",
        "GimbalYawDegree": "+12.5",
        "GimbalRollDegree": "0.00",
        "FlightYawDegree": "-170.1",
        "RtkStdLat": "0.011",
        "RtkStdLon": "0.012",
        "RtkStdHgt": "0.025",
    }
    attributes = " ".join(f'drone-dji:{k}="{v}"' for k, v in values.items())
    text = packet(f"{DRONE} {attributes}")
    if form == "elements":
        inner = "".join(f"<drone-dji:{k}>{v}</drone-dji:{k}>" for k, v in values.items())
        text = packet(DRONE, inner)
    elif form == "other prefix":
        text = text.replace("drone-dji:", "ns3:").replace("xmlns:drone-dji", "xmlns:ns3")
    elif form == "torn":
        text = text[: text.index("></rdf:Description")]
    fact = facts(tmp_path, xmp=text)
    assert fact.relative_altitude_m == 40.3
    assert (fact.gimbal_pitch_deg, fact.gimbal_yaw_deg, fact.gimbal_roll_deg) == (-89.9, 12.5, 0)
    assert fact.flight_yaw_deg == -170.1
    assert fact.rtk_sigma_m == (0.011, 0.012, 0.025)


CHILE = {2: (33.0, 51.0, 24.0), 4: (70.0, 38.0, 54.0), 6: 573.0}
LATITUDE, LONGITUDE = 33.856667, 70.648333


def test_a_missing_hemisphere_is_not_guessed(tmp_path: Path) -> None:
    fact = facts(tmp_path, gps=CHILE)
    assert fact.latitude_deg == pytest.approx(LATITUDE)
    assert not fact.latitude_signed and not fact.longitude_signed
    assert not gps_from_exif([fact])["a.jpg"].signed


def test_the_hemisphere_is_taken_from_xmp(tmp_path: Path) -> None:
    for text in (
        packet(f'{DRONE} drone-dji:GpsLatitude="-33.8567" drone-dji:GpsLongtitude="-70.6483"'),
        packet('exif:GPSLatitude="33,51.4S" exif:GPSLongitude="70,38.9W"'),
    ):
        place = gps_from_exif([facts(tmp_path, gps=CHILE, xmp=text)])["a.jpg"]
        assert place.signed
        assert place.latitude_deg == pytest.approx(-LATITUDE)
        assert place.longitude_deg == pytest.approx(-LONGITUDE)


def test_the_hemisphere_is_taken_from_the_other_photos(tmp_path: Path) -> None:
    without = facts(tmp_path, gps=CHILE)
    south_west = facts(tmp_path, gps={**CHILE, 1: "S", 3: "W"}, name="b.jpg")
    place = gps_from_exif([without, south_west])["a.jpg"]
    assert place.signed and place.latitude_deg < 0 and place.longitude_deg < 0
    north = facts(tmp_path, gps={**CHILE, 1: "N", 3: "W"}, name="c.jpg")
    assert list(gps_from_exif([without, south_west, north])) == ["b.jpg", "c.jpg"]


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0), 6: 5.0},
        {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (IFDRational(0, 0), 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (45.0, 75.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (45.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0), 6: 4.0e6},
        {1: "N", 2: (45.0, 0.0, 0.0)},
    ],
    ids=["zero", "beyond the pole", "nan", "75 minutes", "in space", "latitude alone"],
)
def test_what_is_no_fix_is_absent(tmp_path: Path, gps: dict[int, Any]) -> None:
    fact = facts(tmp_path, gps=gps)
    assert (fact.latitude_deg, fact.longitude_deg, fact.altitude_m) == (None, None, None)
    assert gps_from_exif([fact]) == {}


def test_a_row_at_zero_zero_is_no_fix(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("name,lat,lon\na.jpg,0,0.0\nb.jpg,0,12.5\n")
    assert list(read_gps(tmp_path / "g.csv")) == ["b.jpg"]


def test_a_packet_of_one_long_word_is_read_in_one_pass() -> None:
    words = "a" * 500_000  # the square of it would take hours
    assert read_fields(f'{words} Camera:ModelType="perspective"') == {
        "camera:ModelType": "perspective"
    }
    assert read_fields(f'Camera:ModelType="{" " * 500_000}x"') == {}
    assert read_fields(b" " * (2 << 20) + b'Camera:ModelType="perspective"') == {}
