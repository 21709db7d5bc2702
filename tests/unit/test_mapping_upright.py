"""A world is metric only where the photos do not contradict it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from mapping_world import look_at, make_world
from numpy.typing import NDArray

from edge_reloc.errors import MappingError
from edge_reloc.geometry.rigid import camera_centre, compose, so3_exp
from edge_reloc_export import map as map_program
from edge_reloc_export import reconstruct
from edge_reloc_export.photos.exif import PhotoFacts
from edge_reloc_export.photos.positions import PositionsError
from edge_reloc_export.scene.align import align_to_positions, transform_model
from edge_reloc_export.scene.model import AlignmentFacts, SceneModel, load_model, save_model
from edge_reloc_export.scene.similarity import Similarity, robust_similarity
from edge_reloc_export.scene.upright import gimbal_rotation, told_down

HEIGHT_M = 40.0
NOISE_M = 0.3
GROUND_TOLERANCE_M = 2.0  # noise of the positions tilts the world by a degree
ARBITRARY = Similarity(
    scale=0.05, rotation=so3_exp([0.4, -0.8, 1.1]), translation=np.array([1.0, -4.0, 3.0])
)


def flight(
    folder: Path, *, pitch_deg: float = -90.0, headings_deg: tuple[float, ...] = (20, 200)
) -> tuple[SceneModel, dict[str, NDArray[np.float64]], dict[str, PhotoFacts]]:
    """Strips at one height over flat ground: model, GPS metres, facts.

    The model is in a frame of its own; x east, y north in the positions.
    """
    rng = np.random.default_rng(1)
    views = make_world(folder, photos=18, points=30).views
    facts = {}
    for index, view in enumerate(views):
        row, column = divmod(index, 6)
        heading = headings_deg[row % len(headings_deg)]
        rotation = gimbal_rotation(*np.radians([heading, pitch_deg, 0.0]))
        centre = np.array([25.0 * row + 3.0 * (column % 2), 18.0 * column, HEIGHT_M])
        view.cam_from_world = compose(rotation, -rotation @ centre)
        facts[view.name] = PhotoFacts(
            name=view.name,
            width=640,
            height=480,
            gimbal_yaw_deg=heading,
            gimbal_pitch_deg=pitch_deg,
            relative_altitude_m=HEIGHT_M,
        )
    ground = np.column_stack([rng.uniform(-20, 120, (200, 2)), rng.normal(0, 0.3, 200)])
    for view in views:
        view.point_id = np.arange(200, dtype=np.int32)
    true = SceneModel(views=views, xyz=ground, metric=False)
    positions = {
        v.name: camera_centre(v.cam_from_world) + NOISE_M * rng.standard_normal(3) for v in views
    }
    return transform_model(true, ARBITRARY), positions, facts


def mirrored(positions: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {name: xyz * [-1.0, 1.0, 1.0] for name, xyz in positions.items()}


@pytest.mark.parametrize("axes", ["compass", "local", "unsigned"])
def test_a_flat_flight_is_metric_with_the_ground_below(tmp_path: Path, axes: Any) -> None:
    model, positions, facts = flight(tmp_path)
    for told in ({}, facts):
        found = align_to_positions(model, positions, source="test", facts=told, axes=axes)
        assert found.metric and found.alignment is not None
        assert found.alignment.inliers == found.alignment.n == 18
        assert abs(np.median(found.xyz[:, 2])) < GROUND_TOLERANCE_M


@pytest.mark.parametrize("axes", ["compass", "local"])
@pytest.mark.parametrize("pitch_deg", [-90.0, -55.0, -20.0])
def test_a_forgotten_minus_is_found_by_up(tmp_path: Path, axes: Any, pitch_deg: float) -> None:
    model, positions, facts = flight(tmp_path, pitch_deg=pitch_deg, headings_deg=(20, 20, 40))
    word = "sign of latitude or longitude" if axes == "compass" else "x and y"
    for told in ({}, facts):
        arguments: dict[str, Any] = dict(source="gps.csv", facts=told, axes=axes)
        with pytest.raises(MappingError, match=f"gps.csv: .* upside down .*{word}"):
            align_to_positions(model, mirrored(positions), explicit=True, **arguments)
        found = align_to_positions(model, mirrored(positions), **arguments)
        assert not found.metric and word in found.notes[-1]
        assert align_to_positions(model, positions, explicit=True, **arguments).metric


def test_unknown_signs_are_found_out_and_give_no_reflection(tmp_path: Path) -> None:
    model, positions, facts = flight(tmp_path)
    for told in ({}, facts):
        found = align_to_positions(
            model, mirrored(positions), source="EXIF", facts=told, axes="unsigned"
        )
        assert found.metric and "not georeferenced" in found.notes[-1]
        assert abs(np.median(found.xyz[:, 2])) < GROUND_TOLERANCE_M
    # Nothing tells up: neither the world nor its mirror image is to be believed.
    rng = np.random.default_rng(0)
    for view in model.views:
        turn = so3_exp(3 * rng.standard_normal(3))
        centre = camera_centre(view.cam_from_world)
        view.cam_from_world = compose(turn, -turn @ centre)
    found = align_to_positions(model, positions, source="EXIF", axes="unsigned")
    assert not found.metric and "nothing else tells which way is up" in found.notes[-1]


def test_a_hilly_flight_needs_no_up(tmp_path: Path) -> None:
    model, positions, _ = flight(tmp_path)
    rng = np.random.default_rng(3)
    climbs = 15.0 * rng.standard_normal(len(model.views))
    true = transform_model(model, _inverse(ARBITRARY))
    for view, climb in zip(true.views, climbs, strict=True):
        positions[view.name][2] += climb
        rotation, centre = view.cam_from_world[:3, :3], camera_centre(view.cam_from_world)
        view.cam_from_world = compose(rotation, -rotation @ (centre + [0, 0, climb]))
    with pytest.raises(MappingError, match="only the mirror image of the positions fits"):
        align_to_positions(true, mirrored(positions), source="g.csv", axes="compass", explicit=True)
    assert align_to_positions(true, positions, source="g.csv", axes="compass").metric


def test_both_signs_forgotten_are_found_by_the_compass(tmp_path: Path) -> None:
    model, positions, facts = flight(tmp_path)
    turned = {name: xyz * [-1.0, -1.0, 1.0] for name, xyz in positions.items()}
    found = align_to_positions(model, turned, source="EXIF", facts=facts, axes="compass")
    assert not found.metric and "turned by 180 degrees" in found.notes[-1]
    # Metres may have any heading.
    assert align_to_positions(model, turned, source="p.csv", facts=facts, axes="local").metric


def test_a_wrong_height_over_ground_is_told(tmp_path: Path) -> None:
    model, positions, facts = flight(tmp_path)
    low = {n: replace(f, relative_altitude_m=HEIGHT_M / 2) for n, f in facts.items()}
    found = align_to_positions(model, positions, source="EXIF", facts=low, axes="compass")
    assert found.metric and "they flew 20 m above take-off" in found.notes[-1]


def test_gimbals_tell_down_where_all_photos_look_down_one_way(tmp_path: Path) -> None:
    model, _, facts = flight(tmp_path, headings_deg=(20,))
    down = told_down(model.views, facts)
    assert down is not None
    np.testing.assert_allclose(ARBITRARY.rotation.T @ down.direction, [0, 0, -1], atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photos_that_are_shown_turned_keep_their_attitude(tmp_path: Path, turns: int) -> None:
    model, positions, facts = flight(tmp_path, pitch_deg=-20.0)
    facts = {name: replace(fact, quarter_turns=turns) for name, fact in facts.items()}
    for view in model.views:  # the sensor's rows and columns; np.rot90 turns what is seen
        right, down, forward = view.cam_from_world[:3, :3]
        sensor = {1: (-down, right), 2: (-right, -down), 3: (down, -right)}[turns]
        rotation = np.stack([*sensor, forward])
        view.cam_from_world = compose(rotation, -rotation @ camera_centre(view.cam_from_world))
    told = told_down(model.views, facts)
    assert told is not None and told.told_by == "the gimbal's angles"
    np.testing.assert_allclose(ARBITRARY.rotation.T @ told.direction, [0, 0, -1], atol=1e-6)
    arguments: dict[str, Any] = dict(source="g.csv", facts=facts, axes="compass")
    assert align_to_positions(model, positions, **arguments).metric
    assert not align_to_positions(model, mirrored(positions), **arguments).metric


def test_reasons_are_told_apart(tmp_path: Path) -> None:
    model, positions, _ = flight(tmp_path)
    rng = np.random.default_rng(0)

    def note(changed: dict[str, NDArray[np.float64]], of: SceneModel = model) -> str:
        found = align_to_positions(of, changed, source="EXIF", axes="compass")
        assert not found.metric
        return found.notes[-1]

    wide = {name: rng.uniform(-200, 200, 3) * [1, 1, 0.02] for name in positions}
    assert "names, positions or the reconstruction are wrong" in note(wide)
    blind = replace(model, views=[replace(v) for v in model.views])
    for index, view in enumerate(blind.views):  # no horizon, and all on a line
        turn = so3_exp(3 * rng.standard_normal(3))
        view.cam_from_world = compose(turn, -turn @ np.array([0.1 * index, 0.0, 0.0]))
    line = {v.name: np.array([8.0 * i, 3.0 * i, 0.0]) for i, v in enumerate(blind.views)}
    assert "are too close to a line, and the photos show no horizon" in note(line, blind)
    noise = {v.name: 4 * rng.standard_normal(3) for v in blind.views}
    assert "are too noisy" in note(noise, blind)


def test_a_scale_that_nothing_checks_is_not_known(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    two = np.array([[0.0, 0.0], [10.0, 0.0]])
    assert robust_similarity(two, 3 * two).scale_error == np.inf
    source = rng.standard_normal((4, 2))
    target = source + 0.01 * rng.standard_normal((4, 2))
    target[3] += 50.0  # three agree: two that were chosen, and one that chose them
    fit = robust_similarity(source, target)
    assert fit.inlier.tolist() == [True, True, True, False]
    assert fit.scale_error == np.inf
    # A walk: the tilt is unknown, so positions are fitted in the plane.
    views = make_world(tmp_path, photos=4).views
    walk = SceneModel(views=views, xyz=np.zeros((0, 3)), metric=False)
    positions = {}
    for index, view in enumerate(walk.views):
        centre = np.array([5.0 * index, 0.1 * index**2, 1.6])
        view.cam_from_world = look_at(centre, centre + [1.0, 0.2 * index, 0.0])
        positions[view.name] = centre + 0.5 * rng.standard_normal(3)
    positions[walk.views[2].name] += 40.0
    found = align_to_positions(walk, positions, source="EXIF", axes="compass")
    assert not found.metric and "nothing checks the scale" in found.notes[-1]
    assert found.alignment is not None and found.alignment.scale_error is None


def test_wrong_positions_end_the_mapping_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(*arguments: Any) -> None:
        tried.append(arguments[-1])
        raise PositionsError("gps.csv: upside down")

    monkeypatch.setattr(reconstruct, "without_poses", refuse)
    options = map_program._parser().parse_args(["--images", "photos", "--output", "map"])
    with pytest.raises(PositionsError, match="upside down"):
        reconstruct.reconstruct(options, SimpleNamespace(work=tmp_path), [], {})  # type: ignore[arg-type]
    assert len(tried) == 1


def test_alignment_survives_the_file(tmp_path: Path) -> None:
    model = SceneModel(
        views=make_world(tmp_path, photos=2).views, xyz=np.zeros((0, 3)), metric=True
    )
    facts = AlignmentFacts(
        n=9, inliers=8, median_residual_m=0.5, p90_residual_m=1.5, scale_error=None
    )
    for alignment in (None, facts):
        save_model(tmp_path / "model.npz", replace(model, alignment=alignment))
        assert load_model(tmp_path / "model.npz").alignment == alignment


def test_gimbal_angles_are_compass_and_horizon() -> None:
    east_level = gimbal_rotation(np.pi / 2, 0.0, 0.0)
    np.testing.assert_allclose(east_level[2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(east_level[1], [0, 0, -1], atol=1e-12)
    upright = look_at(np.zeros(3), np.array([1.0, 2.0, 0.5]))[:3, :3]
    yaw, pitch = np.arctan2(1.0, 2.0), np.arcsin(0.5 / np.linalg.norm([1, 2, 0.5]))
    np.testing.assert_allclose(gimbal_rotation(yaw, pitch, 0.0), upright, atol=1e-12)


def _inverse(similarity: Similarity) -> Similarity:
    rotation, scale = similarity.rotation.T, 1 / similarity.scale
    return Similarity(
        scale=scale, rotation=rotation, translation=-scale * rotation @ similarity.translation
    )
