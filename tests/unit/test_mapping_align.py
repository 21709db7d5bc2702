"""Known similarities, positions and headings, recovered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mapping_world import look_at, make_world

from edge_reloc.errors import MappingError
from edge_reloc.geometry.rigid import camera_centre, compose, so3_exp
from edge_reloc_export.photos.listing import PhotoFacts
from edge_reloc_export.photos.positions import (
    GpsPosition,
    gps_from_exif,
    local_positions,
    read_gps,
    read_positions,
)
from edge_reloc_export.scene import headings
from edge_reloc_export.scene.align import (
    Similarity,
    align_to_positions,
    robust_similarity,
    transform_model,
)
from edge_reloc_export.scene.gravity import level_axis
from edge_reloc_export.scene.headings import turns_from_poses
from edge_reloc_export.scene.model import SceneModel, View

TRUE = Similarity(
    scale=2.5, rotation=so3_exp([0.4, -0.8, 1.1]), translation=np.array([10.0, -4.0, 3.0])
)
ROTATION_TOLERANCE = 1e-6  # exact positions: rounding only


def scene(tmp_path: Path, poses: list[np.ndarray]) -> SceneModel:
    views = make_world(tmp_path, photos=len(poses), points=30).views
    for view, pose in zip(views, poses, strict=True):
        view.cam_from_world = pose
    return SceneModel(views=views, xyz=np.zeros((0, 3)), metric=False)


def arc_scene(tmp_path: Path, photos: int = 12) -> SceneModel:
    angle = np.linspace(0, 2, photos)
    centres = np.stack([3 * np.cos(angle), 3 * np.sin(angle), 0.2 * np.sin(5 * angle)], axis=1)
    return scene(tmp_path, [look_at(c, np.zeros(3)) for c in centres])


def test_a_known_similarity_survives_a_third_of_outliers() -> None:
    rng = np.random.default_rng(0)
    source = rng.standard_normal((30, 3)) * [5, 4, 1]
    target = TRUE.apply(source)
    target[:10] += rng.uniform(-50, 50, (10, 3))
    fit = robust_similarity(source, target)
    assert fit.similarity.scale == pytest.approx(TRUE.scale, rel=1e-6)
    np.testing.assert_allclose(fit.similarity.rotation, TRUE.rotation, atol=ROTATION_TOLERANCE)
    assert fit.inlier[10:].all() and fit.inlier[:10].sum() <= 1


def test_a_model_is_aligned_to_camera_positions(tmp_path: Path) -> None:
    model = arc_scene(tmp_path)
    target = transform_model(model, TRUE)
    positions = {v.name: camera_centre(v.cam_from_world) for v in target.views}
    positions[model.views[3].name] = np.array([100.0, 0.0, 0.0])  # one bad entry
    aligned = align_to_positions(model, positions, source="test")
    assert aligned.metric
    for found, true in zip(aligned.views, target.views, strict=True):
        np.testing.assert_allclose(found.cam_from_world, true.cam_from_world, atol=1e-5)


def test_transforming_a_model_keeps_its_pixels(tmp_path: Path) -> None:
    world = make_world(tmp_path, photos=3)
    model = SceneModel(views=world.views, xyz=world.xyz, metric=False)
    moved = transform_model(model, TRUE)
    for before, after in zip(model.views, moved.views, strict=True):
        camera = before.camera
        a = model.xyz @ before.cam_from_world[:3, :3].T + before.cam_from_world[:3, 3]
        b = moved.xyz @ after.cam_from_world[:3, :3].T + after.cam_from_world[:3, 3]
        np.testing.assert_allclose(camera.project(a), camera.project(b), atol=1e-6)


@pytest.mark.parametrize(
    ("count", "spread", "reason"),
    [(2, 1.0, "expected 3 or more"), (12, 0.0, "same place"), (12, 30.0, "do not fit")],
    ids=["two", "one place", "nonsense"],
)
def test_bad_positions_leave_the_model_not_metric(
    tmp_path: Path, count: int, spread: float, reason: str
) -> None:
    model = arc_scene(tmp_path)
    rng = np.random.default_rng(0)
    positions = {v.name: spread * rng.standard_normal(3) for v in model.views[:count]}
    found = align_to_positions(model, positions, source="test")
    assert not found.metric
    assert any(reason in note for note in found.notes)
    np.testing.assert_array_equal(found.views[0].cam_from_world, model.views[0].cam_from_world)


def test_a_walk_along_a_line_is_levelled_by_upright_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = np.stack([np.linspace(0, 60, 25), np.zeros(25), np.zeros(25)], axis=1)
    heading = rng.uniform(-0.6, 0.6, 25)
    ahead = np.stack([np.cos(heading), np.sin(heading), 0.1 * np.sin(9 * heading)], axis=1)
    level = scene(tmp_path, [look_at(c, c + a) for c, a in zip(centres, ahead, strict=True)])
    positions = {
        v.name: camera_centre(v.cam_from_world) + 2.0 * rng.standard_normal(3) for v in level.views
    }
    tilted = transform_model(level, replace(TRUE, scale=0.1))
    found = align_to_positions(tilted, positions, source="GPS")
    assert found.metric and any("assumed upright" in note for note in found.notes)
    for view in found.views:  # the x axis of an upright photo is level
        assert abs(view.cam_from_world[0, 2]) < np.radians(1.0)


def test_down_is_found_for_held_and_for_downward_cameras(tmp_path: Path) -> None:
    held = arc_scene(tmp_path).views
    np.testing.assert_allclose(level_axis(held), [0, 0, -1], atol=1e-6)
    # The same place from cameras on their side and on their head, as their EXIF says.
    turns = {view.name: index % 4 for index, view in enumerate(held)}
    on_side = [replace(v, cam_from_world=rolled(v, turns[v.name])) for v in held]
    np.testing.assert_allclose(level_axis(on_side, turns), [0, 0, -1], atol=1e-6)
    nadir = scene(tmp_path, nadir_poses([0, 180] * 4)).views
    np.testing.assert_allclose(level_axis(nadir), [0, 0, -1], atol=1e-6)
    rng = np.random.default_rng(0)
    tumbling = scene(tmp_path, [compose(so3_exp(v), v) for v in 3 * rng.standard_normal((40, 3))])
    assert level_axis(tumbling.views) is None


def rolled(view: View, turns: int) -> np.ndarray:
    """cam_from_world of a camera whose picture becomes the view's by so many turns."""
    quarter = so3_exp(np.array([0.0, 0.0, np.pi / 2]))  # x to y: the right edge to the bottom
    roll = np.eye(4)
    roll[:3, :3] = np.linalg.matrix_power(quarter, turns)
    return roll @ view.cam_from_world


def nadir_poses(headings_deg: list[float]) -> list[np.ndarray]:
    """Cameras 40 m up that look straight down, image up at a compass heading."""
    poses = []
    for index, heading in enumerate(np.radians(headings_deg)):
        up = np.array([np.sin(heading), np.cos(heading), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        rotation = np.stack([np.cross(-up, down), -up, down])
        poses.append(compose(rotation, -rotation @ np.array([10.0 * index, 0.0, 40.0])))
    return poses


def turned_up(view: View, turns: int) -> np.ndarray:
    """World direction of the image's top after counter-clockwise turns.

    One such turn brings the right edge to the top, two the bottom, three the left.
    """
    right, down = view.cam_from_world[0, :3], view.cam_from_world[1, :3]
    return {0: -down, 1: right, 2: down, 3: -right}[turns]


def test_strips_of_opposite_heading_get_one_heading(tmp_path: Path) -> None:
    headings = [10.0, 8.0, 12.0, 9.0, 190.0, 188.0, 192.0, 100.0, 281.0]
    views = scene(tmp_path, nadir_poses(headings)).views
    turns = turns_from_poses(views)
    assert [turns[v.name] for v in views[:4]] == [0, 0, 0, 0]  # most photos stay
    assert [turns[v.name] for v in views[4:7]] == [2, 2, 2]
    assert {turns[v.name] for v in views[7:]} == {1, 3}
    reference = -views[0].cam_from_world[1, :3]
    for view in views:
        assert turned_up(view, turns[view.name]) @ reference > np.cos(np.radians(20))


def test_upright_photos_are_not_turned(tmp_path: Path) -> None:
    assert set(turns_from_poses(arc_scene(tmp_path).views).values()) == {0}


def test_turns_from_poses_agree_with_exif_where_that_is_right(tmp_path: Path) -> None:
    views = [
        replace(view, cam_from_world=rolled(view, k), quarter_turns=k)
        for view, k in zip(arc_scene(tmp_path).views, [3, 3, 3, 0, 0, 1, 2, 3, 0, 3], strict=False)
    ]
    assert turns_from_poses(views) == {view.name: view.quarter_turns for view in views}
    wrong = [replace(views[0], quarter_turns=1), *views[1:]]
    assert turns_from_poses(wrong) == {view.name: view.quarter_turns for view in views}
    upright = arc_scene(tmp_path).views
    sideways = [replace(v, cam_from_world=rolled(v, 3), quarter_turns=3) for v in upright]
    assert set(turns_from_poses(sideways).values()) == {3}


def test_gps_becomes_metres_east_north_up() -> None:
    gps = {
        "a": GpsPosition(latitude_deg=48.0, longitude_deg=11.0, altitude_m=500.0),
        "b": GpsPosition(latitude_deg=48.001, longitude_deg=11.0, altitude_m=500.0),
        "c": GpsPosition(latitude_deg=48.0, longitude_deg=11.001, altitude_m=510.0),
        "d": GpsPosition(latitude_deg=48.0, longitude_deg=11.0),
    }
    positions, origin = local_positions(gps)
    assert origin == {"latitude_deg": 48.0, "longitude_deg": 11.0, "altitude_m": 500.0}
    # A degree of latitude at 48 degrees is 111.2 km on WGS 84, of longitude 74.6 km.
    np.testing.assert_allclose(positions["b"], [0, 111.2, 0], atol=0.1)
    np.testing.assert_allclose(positions["c"], [74.6, 0, 10], atol=0.1)
    np.testing.assert_allclose(positions["d"], [0, 0, 0], atol=1e-6)


def test_position_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("name,x,y,z\na.jpg,1,2,3\nb.jpg,,,\n")
    np.testing.assert_array_equal(read_positions(tmp_path / "p.csv")["a.jpg"], [1, 2, 3])
    (tmp_path / "g.csv").write_text("name,width,lat,lon,alt\na.jpg,9,48.5,-11,\nb.jpg,9,,,\n")
    assert read_gps(tmp_path / "g.csv") == {
        "a.jpg": GpsPosition(latitude_deg=48.5, longitude_deg=-11.0, altitude_m=None)
    }
    (tmp_path / "g.csv").write_text("name,lat,lon\na.jpg,48.5,11\na.jpg,,\na.jpg,48.5,12\n")
    with pytest.raises(MappingError, match=r"g.csv:4: a second position of 'a.jpg'"):
        read_gps(tmp_path / "g.csv")
    facts = PhotoFacts(name="a", width=9, height=9, latitude_deg=1.0, longitude_deg=2.0)
    assert list(gps_from_exif([facts, PhotoFacts(name="b", width=9, height=9)])) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\na,1,2\n", r"p.csv:1: no column \['z'\]"),
        ("name,x,y,z\na,1,2,3\nb,1,2\n", "p.csv:3: 3 cells, expected 4"),
        ("name,x,y,z\na,1,two,3\n", "p.csv:2: y is 'two', expected a number"),
        ("", "p.csv:1: no column"),
        ("name,x,y,z\na,1,2,3\na,1,2,4\n", "p.csv:3: a second position of 'a'; remove one"),
    ],
    ids=["column", "cells", "number", "empty", "twice"],
)
def test_malformed_positions_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(MappingError, match=message):
        read_positions(tmp_path / "p.csv")
    with pytest.raises(MappingError, match="cannot read"):
        read_positions(tmp_path / "missing.csv")


def test_photos_on_their_side_do_not_tilt_the_world(tmp_path: Path) -> None:
    views = make_world(tmp_path, photos=9, points=30).views
    level = level_axis(views)
    side = compose(np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]), np.zeros(3))
    mixed = [
        replace(v, cam_from_world=side @ v.cam_from_world) if row % 2 else v
        for row, v in enumerate(views)
    ]
    assert level is not None and level @ [0, 0, -1] > 0.98
    found = level_axis(mixed)
    assert found is not None and found @ [0, 0, -1] > 0.98  # five of nine are upright


def test_turns_from_matches_begin_with_those_of_exif(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos match where they are turned to one heading, whichever way the phone was held."""
    right = {"a": 3, "b": 0, "c": 3, "d": 1, "e": 2}
    asked: list[str] = []

    def agreement(store: object, name: str, k: int, other: str, k_other: int) -> int:
        asked.append(name)
        return 200 if (k - right[name]) % 4 == (k_other - right[other]) % 4 else 5

    monkeypatch.setattr(headings, "_agreement", agreement)
    said = SimpleNamespace(turns={"a": 3, "c": 3, "d": 1, "e": 2})
    assert headings.turns_from_matches(said, list(right)) == right
    assert asked == ["b", "c", "d", "e"]  # nothing to try
    wrong = SimpleNamespace(turns={"a": 3, "c": 3, "d": 3, "e": 2})
    assert headings.turns_from_matches(wrong, list(right)) == right


def test_a_photo_that_matches_one_of_the_last_few_is_not_turned_for_a_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A walk with three photos at each station: neighbours in the listing show different walls."""
    asked: list[tuple[str, int]] = []

    def agreement(store: object, name: str, k: int, other: str, k_other: int) -> int:
        asked.append((name, k))
        return 200 if name[0] == other[0] and k == k_other else 5

    monkeypatch.setattr(headings, "_agreement", agreement)
    names = ["a1", "b1", "c1", "a2", "b2", "c2"]
    assert set(headings.turns_from_matches(SimpleNamespace(turns={}), names).values()) == {0}
    assert {k for name, k in asked if name.endswith("2")} == {0}  # no features of other turns


# x, y in one photo and in another, of 115 that broke OpenCV 4.14: nearly all moved by one step.
ONE_STEP = (
    (133, 271, 348, 135), (62, 152, 577, 202), (66, 148, 581, 197), (44, 206, 560, 255),
    (41, 133, 555, 188), (61, 207, 576, 254), (70, 289, 587, 334), (52, 46, 564, 105),
    (28, 316, 544, 354), (82, 150, 598, 196), (34, 251, 550, 296), (57, 237, 573, 283),
    (82, 110, 598, 157), (447, 144, 151, 122), (68, 193, 584, 241), (59, 102, 573, 156),
)  # fmt: skip


def test_matches_that_no_sample_gives_a_geometry_of_agree_on_none() -> None:
    pixels = np.array(ONE_STEP, np.float32)
    photos = {
        name: SimpleNamespace(xy_px=xy, descriptor=np.eye(len(xy), dtype=np.float16))
        for name, xy in (("a", pixels[:, :2]), ("b", pixels[:, 2:]))
    }
    store = SimpleNamespace(
        get_turned=lambda name, k: photos[name], spec=SimpleNamespace(similarity_of_pairs=0.5)
    )
    assert 0 <= headings._agreement(store, "a", 0, "b", 0) <= len(pixels)
