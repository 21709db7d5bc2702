"""Cells are looked for from around where photos saw them, and nothing else is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.bundle.points import PointMap
from edge_reloc.geometry.rigid import compose
from edge_reloc.pose.cells_in_view import BEYOND, CellsInView
from edge_reloc.retrieval.best_first import best_first
from edge_reloc_export.packing.cells import make_cells
from edge_reloc_export.packing.observers import cell_observers
from edge_reloc_export.packing.pack import mean_observer, reorder_points
from edge_reloc_export.scene.model import SceneModel
from tests.mapping_world import CAMERA, World, look_at, make_world, model_of

CELLS = 24


def packed(world: World) -> tuple[SceneModel, PointMap]:
    """A world's points in cells that know who saw them."""
    model = model_of(world)
    seen = np.bincount(np.concatenate([v.point_id for v in model.views]), minlength=len(model.xyz))
    grid = make_cells(model.xyz, mean_observer(model), seen, cells=CELLS)
    model = reorder_points(model, grid.order)
    points = PointMap(
        xyz=model.xyz.astype(np.float32),
        descriptor=np.zeros((len(model.xyz), 4), np.float16),
        cell_start=grid.start,
        cell_centre=grid.centre,
        cell_radius=grid.radius,
        observers=cell_observers(model, grid.start, grid.centre, grid.radius),
    )
    return model, points


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[SceneModel, PointMap]:
    return packed(make_world(tmp_path_factory.mktemp("world")))


def test_what_a_photo_saw_is_looked_for_from_there(place: tuple[SceneModel, PointMap]) -> None:
    model, points = place
    cell_of = np.repeat(np.arange(points.cells), np.diff(points.cell_start))
    for view in model.views:
        found = CellsInView(points).find(view.camera, view.cam_from_world)
        assert set(cell_of[view.point_id]) <= set(found.tolist())


def test_near_the_photos_the_cone_decides(place: tuple[SceneModel, PointMap]) -> None:
    model, points = place
    blind = CellsInView(replace(points, observers=None))
    for view in model.views[::3]:
        found = CellsInView(points).find(view.camera, view.cam_from_world)
        np.testing.assert_array_equal(found, blind.find(view.camera, view.cam_from_world))


@pytest.mark.parametrize(
    "position",
    [[0.0, -30.0, 0.0], [0.0, 25.0, 0.0]],
    ids=["far away", "behind the wall"],
)
def test_from_elsewhere_nothing_is(
    place: tuple[SceneModel, PointMap], position: list[float]
) -> None:
    _, points = place
    pose = look_at(np.array(position), np.array([0.0, 5.0, 0.0]))
    assert len(CellsInView(replace(points, observers=None)).find(CAMERA, pose)) == points.cells
    assert len(CellsInView(points).find(CAMERA, pose)) == 0


def test_observers_are_a_ball_and_a_distance(place: tuple[SceneModel, PointMap]) -> None:
    model, points = place
    assert points.observers is not None
    places = np.array([-v.cam_from_world[:3, :3].T @ v.cam_from_world[:3, 3] for v in model.views])
    cell_of = np.repeat(np.arange(points.cells), np.diff(points.cell_start))
    for cell, (x, y, z, radius, distance) in enumerate(points.observers):
        who = [n for n, v in enumerate(model.views) if (cell_of[v.point_id] == cell).any()]
        apart = np.linalg.norm(places[who] - [x, y, z], axis=1)
        assert radius == pytest.approx(apart.max(), rel=1e-5)
        away = np.linalg.norm(places[who] - points.cell_centre[cell], axis=1).mean()
        assert distance == pytest.approx(away + points.cell_radius[cell], rel=1e-5)
        edge = np.array([x, y, z - radius - 1.001 * BEYOND * distance])
        pose = compose(np.eye(3), -edge)  # beneath, and looking elsewhere, too
        assert cell not in CellsInView(points).find(CAMERA, pose)


def test_best_first_is_a_stable_sort() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 7, 300):
        score = generator.integers(0, 20, size).astype(np.float32)  # with many equals
        score[generator.random(size) < 0.1] = np.nan
        whole = np.argsort(-score, kind="stable")
        for count in (1, 5, size - 1, size, 2 * size):
            np.testing.assert_array_equal(best_first(score, count), whole[:count])
