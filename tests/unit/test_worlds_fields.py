"""Made fields and the flight over them: their truth is true."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import ConfigError
from edge_reloc.geometry.rigid import camera_centre, transform
from edge_reloc.reference.colmap import read_model
from edge_reloc_export.photos.listing import list_photos, read_facts
from edge_reloc_export.photos.positions import gps_from_exif, local_positions
from edge_reloc_export.worlds.fields import Fields, FieldsConfig, make_fields
from edge_reloc_export.worlds.write_fields import (
    CAMERA,
    TAKE_OFF,
    FlightConfig,
    drone_exif,
    ground_size_m,
    main,
    spacing_m,
    survey_views,
)

SMALL = CAMERA.scaled_to(128, 96)
PIXEL = 0.02  # a remap rounds places to 1/32 of a cell
GPS_DIGITS_M = 2e-3  # EXIF as written: altitude in millimetres


def hills(relief_m: float, seed: int = 3) -> Fields:
    config = FieldsConfig(seed=seed, size_m=(120, 100), texel_m=0.2, relief_m=relief_m)
    return make_fields(config)


@pytest.mark.parametrize("relief_m", [0.0, 12.0])
def test_a_pixel_sees_the_point_that_projects_onto_it(relief_m: float) -> None:
    ground = hills(relief_m)
    assert np.ptp(ground.height_m) == pytest.approx(relief_m, abs=1e-4)
    rng = np.random.default_rng(0)
    flight = FlightConfig(photos=2, strips=1, attitude_deg=4.0)
    pose = survey_views(rng, flight, SMALL, float(ground.height_m.mean()))[0]
    points = ground.see(SMALL, pose)
    on_ground = ground.height_at(points[..., 0].copy(), points[..., 1].copy())
    assert np.abs(points[..., 2] - on_ground).max() < 1e-3
    pixels = SMALL.project(transform(pose, points.reshape(-1, 3).astype(np.float64)))
    expected = np.stack(np.meshgrid(np.arange(128), np.arange(96)), axis=-1).reshape(-1, 2)
    assert np.abs(pixels - expected).max() < PIXEL


def test_two_photos_show_one_ground() -> None:
    """The second photo, carried into the first by the truth, looks like it."""
    ground = hills(10.0)
    flight = FlightConfig(photos=2, strips=1)
    rng = np.random.default_rng(1)
    a, b = survey_views(rng, flight, SMALL, float(ground.height_m.mean()))
    points = ground.see(SMALL, a).reshape(-1, 3).astype(np.float64)
    in_b = SMALL.project(transform(b, points)).astype(np.float32).reshape(96, 128, 2)
    first = ground.picture(SMALL, a).astype(np.float32)
    second = cv2.remap(ground.picture(SMALL, b), in_b, None, cv2.INTER_LINEAR).astype(np.float32)
    inside = (in_b > 1).all(axis=-1) & (in_b[..., 0] < 126) & (in_b[..., 1] < 94)
    assert inside.mean() > 0.5
    both = np.corrcoef(first[inside].ravel(), second[inside].ravel())[0, 1]
    wrong = np.corrcoef(first[inside].ravel(), np.roll(second, 3, 1)[inside].ravel())[0, 1]
    assert both > 0.9 > wrong


def test_strips_fly_to_and_fro_at_their_overlap() -> None:
    flight = FlightConfig(photos=11, strips=3, attitude_deg=0.0, drift_m=0.0)
    views = survey_views(np.random.default_rng(0), flight, CAMERA, ground_m=5.0)
    places = np.array([camera_centre(view) for view in views])
    side, forward = spacing_m(flight, CAMERA)
    assert forward == pytest.approx(0.3 * 40 * 768 / 710)
    assert places[:, 2] == pytest.approx(45.0)
    assert np.diff(places[:4, 1]) == pytest.approx(forward)  # north
    assert np.diff(places[4:8, 1]) == pytest.approx(-forward)  # and back
    assert np.unique(places[:, 0].round(6)) == pytest.approx([-side, 0, side])
    headings = [-(view[1, 1]) for view in views]  # the picture's upper edge is ahead
    assert headings == pytest.approx([1.0] * 4 + [-1.0] * 4 + [1.0] * 3)
    wide, high = ground_size_m(flight, CAMERA)
    rays = CAMERA.rays_from_pixels(np.array([[0.0, 0.0], [1023.0, 767.0]]))
    reach = np.abs(places[:, :2]).max(axis=0) + 40 * np.abs(rays).max(axis=0)
    assert (reach < [wide / 2, high / 2]).all()


def test_exif_tells_the_focal_length_and_the_place(tmp_path: Path) -> None:
    from PIL import Image

    place = np.array([-812.3, 45.6, 38.9])
    Image.new("RGB", (CAMERA.width, CAMERA.height)).save(
        tmp_path / "a.jpg", exif=drone_exif(CAMERA, place)
    )
    fact = read_facts(tmp_path, ["a.jpg"])["a.jpg"]
    assert fact.focal_px == pytest.approx(CAMERA.fx, rel=0.02)  # a whole mm of 24
    from pymap3d import geodetic2enu

    gps = gps_from_exif([fact])["a.jpg"]
    found = geodetic2enu(gps.latitude_deg, gps.longitude_deg, gps.altitude_m, *TAKE_OFF)
    assert np.abs(np.array(found) - place).max() < GPS_DIGITS_M
    exif = Image.open(tmp_path / "a.jpg").getexif()
    sensor = float(exif.get_ifd(0x8769)[0x920A]) / 7.70 * math.hypot(1024, 768)
    assert sensor == pytest.approx(CAMERA.fx, rel=1e-3)


def test_the_program_writes_photos_reference_and_truth(tmp_path: Path) -> None:
    arguments = ["--photos", "5", "--strips", "2", "--height", "15", "--gps", "0.3"]
    for name in ("one", "two"):
        options = ["--output", str(tmp_path / name), "--texel-mm", "100", *arguments]
        assert main(options) == 0
    one, two = tmp_path / "one", tmp_path / "two"
    names = list_photos(one / "images")
    assert len(names) == 5
    for name in names:
        assert (one / "images" / name).read_bytes() == (two / "images" / name).read_bytes()
    facts = read_facts(one / "images", names)
    measured, _ = local_positions(gps_from_exif(facts.values()))
    reference = read_model(one / "reference")
    truth = {image.name: camera_centre(image.cam_from_world) for image in reference.images}
    error = np.array([measured[name] - truth[name] for name in names])
    assert np.abs(error - np.median(error, axis=0)).max() < 2.0  # 0.3 m spread
    assert reference.cameras[1].fx == CAMERA.fx
    notes = json.loads((one / "truth.json").read_text())
    assert set(notes["gps_m"]) == set(names)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: FieldsConfig(texel_m=0.0), "texel_m is 0.0, expected 0.01 to 1"),
        (lambda: FieldsConfig(variety=2.0), "variety is 2.0, expected 0 to 1"),
        (lambda: FieldsConfig(relief_m=-1), "relief_m is -1, expected 0 or more"),
        (lambda: FieldsConfig(parcel_m=1), "parcel_m 1; expected 10"),
        (lambda: FlightConfig(photos=3, strips=4), "3 photos in 4 strips"),
        (lambda: FlightConfig(side_overlap=1.0), "side_overlap is 1.0, expected 0 to below 1"),
        (lambda: FlightConfig(height_m=0), "height_m is 0, expected above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        make()


def test_a_camera_that_sees_the_horizon_is_refused() -> None:
    level = np.array([[1.0, 0, 0, 0], [0, 0, -1, 20], [0, 1, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(ConfigError, match="sees the horizon"):
        hills(0.0).see(SMALL, level)
