"""What a reconstruction is worth, judged on worlds of which it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ground_world import make_ground
from mapping_world import World

from edge_reloc.geometry.rigid import camera_centre, compose
from edge_reloc_export.scene.grade import (
    Grade,
    agreeing_pairs,
    grade_model,
    left_out_share,
    weakest_bridge,
)
from edge_reloc_export.scene.matching import PairMatches, match_pairs
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.scene.view_geometry import ViewGeometry

GOOD = Grade(placed=1.0, pairs=0.99, left_out=0.95, bridge=200, positions=0.9)


def model_of(world: World) -> SceneModel:
    """As it was made: every keypoint shows its point."""
    views = [
        replace(
            view,
            xy_px=world.store.get(view.name).xy_px,
            point_id=world.point_of[view.name].astype(np.int32),
            keypoint=np.arange(len(world.point_of[view.name]), dtype=np.int32),
        )
        for view in world.views
    ]
    return SceneModel(views=views, xyz=world.xyz, metric=True)


def moved(view: View, shift: np.ndarray) -> View:
    rotation = view.cam_from_world[:3, :3]
    centre = camera_centre(view.cam_from_world) + shift
    return replace(view, cam_from_world=compose(rotation, -rotation @ centre))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_ground(tmp_path_factory.mktemp("ground"), relief_m=5.0)


def test_a_true_reconstruction_is_good(world: World) -> None:
    model = model_of(world)
    grade = grade_model(model, len(model.views))
    assert grade.left_out == 1.0 and grade.bridge is not None and grade.bridge > 200
    assert grade.verdict == "good" and grade.reasons == []


def test_photos_that_the_rest_would_place_elsewhere_are_counted(world: World) -> None:
    model = model_of(world)
    off = [
        moved(view, np.array([4.0, 0, 0])) if row % 3 == 0 else view
        for row, view in enumerate(model.views)
    ]
    assert left_out_share(replace(model, views=off)) < 0.75


def test_two_halves_that_share_few_points_are_found(world: World) -> None:
    model = model_of(world)
    count = len(model.xyz)
    views = []
    for row, view in enumerate(model.views):  # the third strip sees copies of all but 25 points
        ids = view.point_id
        views.append(
            view if row < 12 else replace(view, point_id=np.where(ids < 25, ids, ids + count))
        )
    joined = sum(
        any(point in v.point_id for v in views[:12])
        and any(point in v.point_id for v in views[12:])
        for point in range(25)
    )
    halves = replace(model, views=views, xyz=np.concatenate([model.xyz, model.xyz]))
    assert 0 < joined == weakest_bridge(halves) < 25


def test_pairs_that_the_poses_do_not_explain_are_counted(world: World) -> None:
    names = [view.name for view in world.views]
    matches = match_pairs(world.store, names, [(i, i + 1) for i in range(17)], progress=False)
    xy_px = [world.store.get(name).xy_px for name in names]
    assert agreeing_pairs(matches, ViewGeometry(world.views), xy_px) == 1.0
    off = [moved(v, np.array([0, 6.0, 0])) if r == 8 else v for r, v in enumerate(world.views)]
    asked = [m for m in matches if len(m.rows) >= 30]
    wrong = sum(8 in match.pair for match in asked)
    assert wrong and agreeing_pairs(matches, ViewGeometry(off), xy_px) == pytest.approx(
        1 - wrong / len(asked)
    )
    few = [PairMatches(pair=(0, 1), rows=matches[0].rows[:20], similarity=np.ones(20, np.float32))]
    assert agreeing_pairs(few, ViewGeometry(world.views), xy_px) is None  # chance decides there


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"pairs": 0.8}, "doubtful", "80% of the pairs"),
        ({"pairs": 0.5}, "poor", "50% of the pairs"),
        ({"positions": 0.45}, "poor", "45% of the known positions"),
        ({"left_out": 0.7}, "doubtful", "70% of the photos"),
        ({"bridge": 12}, "poor", "hang together by 12 points"),
        ({"pairs": None, "left_out": None, "bridge": None, "positions": None}, "good", ""),
    ],
)
def test_the_verdict_follows_the_worst(
    change: dict[str, float | None], verdict: str, reason: str
) -> None:
    grade = replace(GOOD, **change)  # type: ignore[arg-type]
    assert grade.verdict == verdict
    assert reason in "; ".join(grade.reasons)
    assert GOOD.better_than(grade) or verdict == "good"


def test_of_two_good_ones_the_one_that_holds_more_together_is_better() -> None:
    assert GOOD.better_than(replace(GOOD, placed=0.7))
    assert not replace(GOOD, pairs=0.7).better_than(replace(GOOD, placed=0.4))
