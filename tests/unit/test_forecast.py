"""What is predicted of a map before anything flies, on a wall that is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.manifest import CovarianceScale, Integrity, World
from edge_reloc.bundle.points import open_points
from edge_reloc.errors import ConfigError, MappingError
from edge_reloc.geometry.geodesy import enu_from_geodetic
from edge_reloc.geometry.rigid import camera_centre, error_vector
from edge_reloc.pose.refine import refine_pose
from edge_reloc.settings import Gate
from edge_reloc_export import map_coverage
from edge_reloc_export.forecast import left_out_scale
from edge_reloc_export.forecast.coverage_files import Coverage, as_geojson
from edge_reloc_export.forecast.heading_grid import Grid, level_of, make_grid
from edge_reloc_export.forecast.match_rate import MatchRate, learn_rate
from edge_reloc_export.forecast.predict import Expected, Predictor
from edge_reloc_export.forecast.seen_from import Observations
from edge_reloc_export.integrity.measure import Try
from edge_reloc_export.packing.pack import pack_map
from edge_reloc_export.scene.model import SceneModel
from tests.mapping_world import CAMERA, WorldStore, look_at, make_world

TRIES = 60
SIGMA_TOLERANCE = 0.25  # of 60 tries a standard deviation is known to 9 %, twice and some more
DEGREE_M = 111_320.0  # of longitude, at the equator
AS_SOLVED = CovarianceScale(factor=1.0)
INTEGRITY = Integrity(photos=20, first=AS_SOLVED, refined=AS_SOLVED)
ALWAYS = MatchRate(
    weight=np.array([30.0, 0, 0, 0, 0, 0, 0]), scatter=0.0, keypoint_px=1.0, inflation=1.0
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneModel, WorldStore]:
    """The wall, of which every photo found most of what it sees."""
    world = make_world(tmp_path_factory.mktemp("wall.work"), photos=12, points=500)
    generator = np.random.default_rng(0)
    for view in world.views:
        point = world.point_of[view.name]
        rows = np.flatnonzero((point >= 0) & (generator.random(len(point)) < 0.7))
        view.keypoint, view.point_id = rows.astype(np.int32), point[rows].astype(np.int32)
        view.xy_px = world.store.get(view.name).xy_px[rows]
    model = SceneModel(
        views=world.views, xyz=world.xyz, metric=True, gravity=np.array([0.0, 0.0, -1.0])
    )
    return model, world.store


@pytest.fixture(scope="module")
def mapped(
    world: tuple[SceneModel, WorldStore], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, SceneModel]:
    model, store = world
    path = tmp_path_factory.mktemp("map") / "wall"
    return path, pack_map(model, store, store.spec, path, name="wall")


@pytest.fixture(scope="module")
def observations(mapped: tuple[Path, SceneModel]) -> Observations:
    return Observations(mapped[1].views, mapped[1].xyz)


def predictor(
    mapped: tuple[Path, SceneModel], observations: Observations, rate: MatchRate
) -> Predictor:
    return Predictor(observations, open_points(open_bundle(mapped[0])), rate, INTEGRITY, Gate())


def test_a_mapping_photo_sees_its_points_as_it_did(observations: Observations) -> None:
    view = observations.views[4]
    seen = observations.seen(view.camera, view.cam_from_world)
    own = np.isin(seen.ids, view.point_id)
    assert own.sum() == len(np.unique(view.point_id))
    assert seen.angle_rad[own].max() < 1e-6 and np.abs(seen.log_distance[own]).max() < 1e-9
    assert not seen.hidden.any()  # nothing stands before the wall
    without = np.zeros(len(observations.views), bool)
    without[4] = True
    left = observations.seen(view.camera, view.cam_from_world, without)
    assert left.angle_rad.min() > 0.05  # the next photo stood 0.45 m away
    assert len(left.ids) <= len(seen.ids)


def test_the_most_similar_photo_by_definition(observations: Observations) -> None:
    pose = look_at(np.array([1.5, -3.0, 1.0]), np.array([0.0, 5.0, 0.0]))
    seen = observations.seen(CAMERA, pose)
    for row in (0, len(seen.ids) // 2):
        point = observations.xyz[seen.ids[row]]
        least = min(
            (angle + 0.5 * abs(ratio), angle, ratio)
            for angle, ratio in (
                _alike(point, camera_centre(pose), camera_centre(view.cam_from_world))
                for view in observations.views
                if seen.ids[row] in view.point_id
            )
        )
        assert (seen.angle_rad[row], seen.log_distance[row]) == pytest.approx(least[1:])


def _alike(point: np.ndarray, here: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    ours, theirs = here - point, there - point
    lengths = np.linalg.norm(ours), np.linalg.norm(theirs)
    cosine = np.clip(ours @ theirs / lengths[0] / lengths[1], -1, 1)
    return float(np.arccos(cosine)), float(np.log(lengths[0] / lengths[1]))


def test_what_was_never_seen_together_hides(world: tuple[SceneModel, WorldStore]) -> None:
    """A wall behind the wall, seen from between the two."""
    model, _ = world
    behind = model.xyz + [0.0, 12.0, 0.0]
    between = [
        replace(
            view,
            cam_from_world=look_at(
                camera_centre(view.cam_from_world) + [0.0, 12.0, 0.0], np.array([0.0, 17.0, 0.0])
            ),
            point_id=view.point_id + len(model.xyz),
        )
        for view in model.views
    ]
    xyz = np.concatenate([model.xyz, behind])
    pose = model.views[6].cam_from_world
    seen = Observations([*model.views, *between], xyz).seen(CAMERA, pose)
    far = seen.ids >= len(model.xyz)
    assert far.sum() > 20 and seen.hidden[far].mean() > 0.8 and not seen.hidden[~far].any()
    # A photo that saw both: the front is no wall, but a fence.
    both = replace(
        model.views[6],
        point_id=np.concatenate([model.views[6].point_id, seen.ids[far]]).astype(np.int32),
    )
    seen = Observations([*model.views, *between, both], xyz).seen(CAMERA, pose)
    assert seen.hidden[seen.ids >= len(model.xyz)].mean() < 0.2


def test_nothing_is_seen_through_the_back_of_a_wall(
    world: tuple[SceneModel, WorldStore],
) -> None:
    """Another wall beyond it, seen by the same photos from between the two."""
    model, _ = world
    turn = np.diag([-1.0, -1.0, 1.0])  # the same before its mirror image, 10 m in front
    opposite = [
        replace(
            view,
            cam_from_world=np.block(
                [
                    [view.cam_from_world[:3, :3] @ turn, view.cam_from_world[:3, 3:]],
                    [np.zeros((1, 3)), 1],
                ]
            ),
            point_id=view.point_id + len(model.xyz),
        )
        for view in model.views
    ]
    xyz = np.concatenate([model.xyz, model.xyz @ turn])
    observations = Observations([*model.views, *opposite], xyz)
    outside = look_at(np.array([0.0, 9.0, 0.0]), np.array([0.0, -5.0, 0.0]))
    seen = observations.seen(CAMERA, outside)
    far = seen.ids >= len(model.xyz)
    assert far.sum() > 100 and seen.blocked[far].mean() > 0.5 and not seen.blocked[~far].any()
    inside = observations.seen(CAMERA, model.views[5].cam_from_world)
    assert not inside.blocked.any()


def test_rates_are_those_of_photos_left_out(observations: Observations) -> None:
    rate = learn_rate(observations)
    view = observations.views[5]
    seen = observations.seen(view.camera, view.cam_from_world)
    assert rate.of(seen).mean() == pytest.approx(0.7, abs=0.08)
    assert rate.scatter < 0.2
    assert rate.keypoint_px == 0.5  # made with 0.3 px, below what the solver believes
    behind = replace(seen, angle_rad=np.full(len(seen.ids), 2.0))
    assert (rate.of(behind) == 0).all()
    with pytest.raises(MappingError, match="8 are needed"):
        learn_rate(Observations(observations.views[:5], observations.xyz))


def test_the_covariance_is_that_of_poses_solved_there(
    mapped: tuple[Path, SceneModel], observations: Observations
) -> None:
    """Keypoints with a pixel of noise at every point in view, solved by the runtime's refiner."""
    truth = look_at(np.array([0.5, -1.0, 0.4]), np.array([0.2, 5.0, 0.0]))
    ids = observations.seen(CAMERA, truth).ids
    xyz = observations.xyz[ids]
    pixels = CAMERA.project(xyz @ truth[:3, :3].T + truth[:3, 3])
    generator = np.random.default_rng(1)
    errors = []
    for _ in range(TRIES):
        noisy = pixels + generator.normal(size=pixels.shape)
        found = refine_pose(CAMERA, truth, noisy, xyz, scale_px=(100.0, 100.0))
        errors.append(error_vector(found.cam_from_world, truth))
    measured = np.sqrt((np.array(errors) ** 2).mean(axis=0))
    predicted = predictor(mapped, observations, ALWAYS).predict(CAMERA, truth)
    assert predicted.matches == pytest.approx(len(ids), abs=0.01)
    assert predicted.position == pytest.approx(np.linalg.norm(measured[3:]), rel=SIGMA_TOLERANCE)
    rotation = np.degrees(np.linalg.norm(measured[:3]))
    assert predicted.rotation_deg == pytest.approx(rotation, rel=SIGMA_TOLERANCE)


def test_sigma_holds_what_errors_of_left_out_photos_are(
    mapped: tuple[Path, SceneModel], observations: Observations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors four times as large as the points alone explain, as bad light makes them."""
    found = predictor(mapped, observations, ALWAYS)
    generator = np.random.default_rng(0)

    def tried(bundle: Path, model: SceneModel, store: object, left_out: list, folder: Path):  # type: ignore[no-untyped-def, type-arg]
        for rows in left_out:
            without = np.isin(np.arange(len(model.views)), rows)
            tries = []
            view = model.views[rows[0]]
            told = found.predict(view.camera, view.cam_from_world, without).position
            for error in 4.0 * told * np.linalg.norm(generator.normal(size=(15, 3)), axis=1):
                tries.append(Try(1.0, 0.0, True, None, float(error / np.sqrt(3)), 0.0, view.name))
            yield [], tries

    monkeypatch.setattr(left_out_scale, "tried_here", tried)
    path, model = mapped
    assert left_out_scale.calibrate(found, path, model, object())
    assert 3.0 < np.sqrt(found.scale.factor) < 5.0
    monkeypatch.setattr(left_out_scale, "FEWEST_ERRORS", 10_000)
    found.scale = AS_SOLVED
    assert not left_out_scale.calibrate(found, path, model, object())
    assert found.scale is AS_SOLVED


def test_status_by_place(mapped: tuple[Path, SceneModel], observations: Observations) -> None:
    asked = predictor(mapped, observations, learn_rate(observations))
    wall = np.array([0.0, 5.0, 0.0])
    near = asked.predict(CAMERA, look_at(np.array([0.3, 0.5, 0.2]), wall))
    far = asked.predict(CAMERA, look_at(np.array([0.3, -25.0, 0.2]), wall))
    turned = asked.predict(CAMERA, look_at(np.array([0.3, 0.5, 0.2]), np.array([0.0, -5.0, 0.0])))
    from_behind = asked.predict(CAMERA, look_at(np.array([0.0, 10.0, 0.0]), wall))
    assert near.status is Expected.WORKS and near.parts > 10
    assert far.matches < 0.5 * near.matches and far.position > 2 * near.position
    for nothing in (turned, from_behind):
        assert nothing.status is Expected.NOT
        assert nothing.matches == 0 and nothing.position == float("inf")


def test_headings_are_those_of_a_compass(mapped: tuple[Path, SceneModel]) -> None:
    model = mapped[1]
    grid = make_grid(model, step=1.0, every_deg=90.0, height=None)
    assert np.degrees(grid.heading_rad).tolist() == [0, 90, 180, 270]
    np.testing.assert_allclose(grid.level.level_from_world, np.eye(3), atol=1e-12)
    ahead = [grid.level.cam_from_world(grid.place[0], h, 0.0)[2, :3] for h in grid.heading_rad]
    np.testing.assert_allclose(ahead[:2], [[0, 1, 0], [1, 0, 0]], atol=1e-12)
    # The wall and the photos before it; heights and pitches of the nearest photos.
    assert np.ptp(grid.place[:, 0]) > 4 and np.ptp(grid.place[:, 1]) > 4
    heights = [camera_centre(view.cam_from_world)[2] for view in model.views]
    assert min(heights) <= grid.place[:, 2].min() <= grid.place[:, 2].max() <= max(heights)
    assert np.abs(grid.pitch_rad).max() < 0.1
    assert (make_grid(model, step=1.0, every_deg=90.0, height=2.5).place[:, 2] == 2.5).all()
    for step in (0.01, 1e-9, 1e-300):
        with pytest.raises(ConfigError, match="take a larger step"):
            make_grid(model, step=step, every_deg=90.0, height=None)
    with pytest.raises(ConfigError, match="--every-deg: found 1e-09"):
        make_grid(model, step=1.0, every_deg=1e-9, height=None)
    with pytest.raises(ConfigError, match="--height: found nan"):
        make_grid(model, step=1.0, every_deg=90.0, height=float("nan"))


def test_a_world_that_lies_on_its_side(mapped: tuple[Path, SceneModel]) -> None:
    """Down is +y, as in a camera: a heading still turns about the vertical."""
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    model = mapped[1]
    views = [
        replace(
            view,
            cam_from_world=np.block(
                [
                    [view.cam_from_world[:3, :3] @ turn.T, view.cam_from_world[:3, 3:]],
                    [np.zeros((1, 3)), 1],
                ]
            ),
        )
        for view in model.views
    ]
    for gravity in (turn @ [0.0, 0.0, -1.0], None):
        side = replace(model, views=views, xyz=model.xyz @ turn.T, gravity=gravity)
        up = level_of(side).level_from_world[2]
        if gravity is not None:
            np.testing.assert_allclose(up, -gravity, atol=1e-12)
        assert np.linalg.det(level_of(side).level_from_world) == pytest.approx(1.0)


def test_geojson_is_where_the_map_is_on_earth(
    mapped: tuple[Path, SceneModel], observations: Observations
) -> None:
    model = mapped[1]
    made = make_grid(model, step=2.0, every_deg=180.0, height=None)
    grid = Grid(**{**vars(made), "place": made.place[:3], "pitch_rad": made.pitch_rad[:3]})
    asked = predictor(mapped, observations, ALWAYS)
    rows = [
        [asked.predict(CAMERA, grid.level.cam_from_world(place, h, 0.0)) for h in grid.heading_rad]
        for place in grid.place
    ]
    origin = {"latitude_deg": 0.0, "longitude_deg": 10.0, "altitude_m": 100.0}
    located = Coverage(grid=grid, predictions=rows, world=World(metric=True, georeference=origin))
    for feature, place in zip(as_geojson(located)["features"], grid.place, strict=True):
        longitude, latitude, altitude = feature["geometry"]["coordinates"]
        assert (longitude - 10.0) * DEGREE_M == pytest.approx(place[0], abs=0.02)
        back = enu_from_geodetic(latitude, longitude, altitude, origin)
        np.testing.assert_allclose(back, place, atol=1e-6)
    assert "note" not in as_geojson(located)
    local = as_geojson(Coverage(grid=grid, predictions=rows, world=World(metric=False)))
    assert local["features"][0]["geometry"]["coordinates"] == grid.place[0].tolist()
    assert "not longitude and latitude" in local["note"] and "map units" in local["note"]


def test_the_program(
    mapped: tuple[Path, SceneModel],
    world: tuple[SceneModel, WorldStore],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["--map", str(mapped[0]), "--step", "2", "--every-deg", "90"]
    assert map_coverage.main(command) == 1
    assert "wall.work: no work folder of this map" in capsys.readouterr().err
    command += ["--work", str(world[1].work), "--output", str(tmp_path / "out"), "--json"]
    assert map_coverage.main(command) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["headings"] == 4 and 0 < summary["works"] < 0.6
    assert sum(summary[status.value] for status in Expected) == pytest.approx(1.0, abs=0.01)
    told = json.loads((tmp_path / "out" / "coverage.json").read_text())
    assert len(told["places"]) == summary["places"]
    collection = json.loads((tmp_path / "out" / "coverage.geojson").read_text())
    assert {f["type"] for f in collection["features"]} == {"Feature"}
    assert (tmp_path / "out" / "coverage.png").read_bytes().startswith(b"\x89PNG")
