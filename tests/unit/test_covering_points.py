"""Points that cover the mapping photos best, against a plain greedy choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.errors import ConfigError
from edge_reloc_export.packing.covering_points import SPOT_PX, points_that_cover
from edge_reloc_export.scene.model import SceneModel, View
from tests.mapping_world import CAMERA

POINTS, VIEWS = 120, 6
SIDE = SPOT_PX * max(CAMERA.width, CAMERA.height) / 640


@pytest.fixture(scope="module")
def model() -> SceneModel:
    """Photos that observe points at places drawn by lot, some points more often."""
    generator = np.random.default_rng(0)
    often = generator.uniform(0.1, 0.9, POINTS)
    views = []
    for number in range(VIEWS):
        ids = np.flatnonzero(generator.random(POINTS) < often).astype(np.int32)
        xy = generator.uniform([0, 0], [6 * SIDE, 4 * SIDE], (len(ids), 2)).astype(np.float32)
        views.append(
            View(
                name=str(number),
                camera=CAMERA,
                cam_from_world=np.eye(4),
                xy_px=xy,
                point_id=ids,
                keypoint=np.arange(len(ids), dtype=np.int32),
            )
        )
    return SceneModel(views=views, xyz=np.zeros((POINTS, 3)), metric=True)


def squares(model: SceneModel) -> list[set[tuple[int, int, int]]]:
    """Photo, row and column of every square that a point was seen in."""
    found: list[set[tuple[int, int, int]]] = [set() for _ in range(POINTS)]
    for number, view in enumerate(model.views):
        for point, (x, y) in zip(view.point_id, view.xy_px, strict=True):
            found[point].add((number, int((y + 0.5) // SIDE), int((x + 0.5) // SIDE)))
    return found


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_each_next_point_is_worth_most(model: SceneModel, share: float) -> None:
    of = squares(model)
    taken: dict[tuple[int, int, int], int] = {}
    worth = [0.0] * POINTS
    chosen: list[int] = []
    for _ in range(round(share * POINTS)):
        worth = [sum(1 / (1 + taken.get(s, 0)) for s in of[p]) for p in range(POINTS)]
        left = [p for p in range(POINTS) if p not in chosen]
        chosen.append(max(left, key=lambda p: (round(worth[p], 9), -p)))
        for square in of[chosen[-1]]:
            taken[square] = taken.get(square, 0) + 1
    keep = points_that_cover(model, share)
    assert keep.sum() == round(share * POINTS)
    assert set(np.flatnonzero(keep).tolist()) == set(chosen)


def test_no_part_of_a_photo_goes_without(model: SceneModel) -> None:
    keep = points_that_cover(model, 0.4)
    of = squares(model)
    wanted = set().union(*of)
    held = set().union(*(of[p] for p in np.flatnonzero(keep)))
    lot = np.random.default_rng(1).permutation(POINTS)[: keep.sum()]
    assert len(held) > 0.9 * len(wanted)
    assert len(held) > 1.1 * len(set().union(*(of[p] for p in lot)))


def test_the_same_photo_twice_as_large(model: SceneModel) -> None:
    large = replace(CAMERA, width=2 * CAMERA.width, height=2 * CAMERA.height)
    views = [
        replace(view, camera=large, xy_px=2 * view.xy_px + np.float32(0.5)) for view in model.views
    ]
    keep = points_that_cover(replace(model, views=views), 0.4)
    np.testing.assert_array_equal(keep, points_that_cover(model, 0.4))


def test_all_and_none(model: SceneModel) -> None:
    assert points_that_cover(model, 1.0).all()
    empty = SceneModel(views=[], xyz=np.zeros((4, 3)), metric=True)
    assert points_that_cover(empty, 0.5).sum() == 2
    for share in (0.0, 1.2, -1.0):
        with pytest.raises(ConfigError, match="keep: found"):
            points_that_cover(model, share)
