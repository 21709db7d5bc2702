"""Cells of photos are sampled once, and again when what they depend on has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # small products: threads only wait for each other

from edge_reloc.geometry.camera import Camera
from edge_reloc_export.nets.detector import CellMaps
from edge_reloc_export.nets.scene_coordinates import DenseEncoder
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.training.scene_coordinates import samples as sampling
from edge_reloc_export.training.scene_coordinates.samples import (
    BufferConfig,
    CellSamples,
    PhotoCells,
    of_views,
    sample_cells,
)

SIZE = (96, 64)
CAMERA = Camera(model="pinhole", width=96, height=64, fx=80, fy=80, cx=47.5, cy=31.5)
CONFIG = BufferConfig(copies=2, unknown=10)


class Grey(torch.nn.Module):
    """A feature network that sees mean and spread of a cell, and heat where it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def cells(self, image_11HW: torch.Tensor) -> CellMaps:
        mean = torch.nn.functional.avg_pool2d(image_11HW, 8)
        square = torch.nn.functional.avg_pool2d((image_11HW / 16) ** 2, 8)
        return CellMaps(torch.cat([mean, square], dim=1) * self.gain, image_11HW / 50)


class Folder:
    """Photos in a folder, as a store has them."""

    def __init__(self, images: Path) -> None:
        self.images = images

    def photo(self, name: str) -> Path:
        return self.images / name


Place = tuple[PhotoCells, SceneModel, Folder]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    generator = np.random.default_rng(0)
    xyz = np.column_stack([generator.uniform(-1, 1, (60, 2)), generator.uniform(2, 3, 60)])
    views = []
    for index in range(3):
        image = cv2.resize(generator.integers(0, 255, (16, 24, 3)).astype(np.uint8), SIZE)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        seen = CAMERA.project(xyz + pose[:3, 3])
        rows = np.flatnonzero(((seen >= 0) & (seen < SIZE)).all(axis=1))
        views.append(
            View(
                name=f"{index}.png",
                camera=CAMERA,
                cam_from_world=pose,
                xy_px=seen[rows].astype(np.float32),
                point_id=rows.astype(np.int32),
                keypoint=rows.astype(np.int32),
            )
        )
    cells = PhotoCells(DenseEncoder(Grey()), [SIZE], "cpu")
    return cells, SceneModel(views=views, xyz=xyz, metric=True), Folder(tmp_path)


def sampled(place: Place, cache: Path | None, config: BufferConfig = CONFIG) -> CellSamples:
    cells, model, folder = place
    return sample_cells(cells, model, folder, config, cache=cache)  # type: ignore[arg-type]


def assert_same(one: CellSamples, other: CellSamples) -> None:
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the photos that were sampled, as it happens."""
    names: list[str] = []
    plain = sampling._sample_photo

    def noted(cells: PhotoCells, model: SceneModel, view: View, *more: object) -> object:
        names.append(view.name)
        return plain(cells, model, view, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sampling, "_sample_photo", noted)
    return names


def test_a_second_training_samples_nothing(
    place: Place, tmp_path: Path, looked_at: list[str]
) -> None:
    first = sampled(place, tmp_path / "cells")
    assert sorted(looked_at) == ["0.png", "1.png", "2.png"]
    assert_same(sampled(place, tmp_path / "cells"), first)
    assert len(looked_at) == 3
    assert_same(sampled(place, None), first)
    threads = torch.get_num_threads()
    assert threads == 1  # given back


def test_photos_left_out_are_not_looked_at(place: Place, looked_at: list[str]) -> None:
    cells, model, folder = place
    keep = np.array([True, False, True])
    found = sample_cells(cells, model, folder, CONFIG, keep=keep)  # type: ignore[arg-type]
    assert sorted(looked_at) == ["0.png", "2.png"]
    assert_same(found, of_views(sampled(place, None), keep))


def move(model: SceneModel) -> SceneModel:
    pose = model.views[1].cam_from_world.copy()
    pose[2, 3] += 0.01
    return replace(
        model,
        views=[model.views[0], replace(model.views[1], cam_from_world=pose), model.views[2]],
    )


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda cells, model, folder: (cells, move(model), folder), {"1.png"}),
        (
            lambda cells, model, folder: (cells, replace(model, xyz=model.xyz * 1.01), folder),
            {"0.png", "1.png", "2.png"},
        ),
        (
            lambda cells, model, folder: (repaint(cells, folder), model, folder),
            {"2.png"},
        ),
        (
            lambda cells, model, folder: (another_encoder(), model, folder),
            {"0.png", "1.png", "2.png"},
        ),
    ],
    ids=["pose", "points", "photo", "weights"],
)
def test_what_changed_is_sampled_again(
    change: Callable[..., Place],
    again: set[str],
    place: Place,
    tmp_path: Path,
    looked_at: list[str],
) -> None:
    sampled(place, tmp_path / "cells")
    looked_at.clear()
    other = change(*place)
    found = sampled(other, tmp_path / "cells")
    assert set(looked_at) == again
    assert_same(found, sampled(other, None))


def repaint(cells: PhotoCells, folder: Folder) -> PhotoCells:
    cv2.imwrite(str(folder.photo("2.png")), 255 - cv2.imread(str(folder.photo("2.png"))))
    return cells


def another_encoder() -> PhotoCells:
    network = Grey()
    with torch.no_grad():
        network.gain *= 2
    return PhotoCells(DenseEncoder(network), [SIZE], "cpu")


def test_fewer_copies_are_a_part_of_what_is_kept(
    place: Place, tmp_path: Path, looked_at: list[str]
) -> None:
    sampled(place, tmp_path / "cells")
    looked_at.clear()
    fewer = replace(CONFIG, copies=1)
    found = sampled(place, tmp_path / "cells", fewer)
    assert not looked_at
    assert_same(found, sampled(place, None, fewer))
    looked_at.clear()
    sampled(place, tmp_path / "cells", replace(CONFIG, copies=3))
    assert len(looked_at) == 3


def test_cells_do_not_depend_on_the_other_photos(place: Place) -> None:
    cells, model, folder = place
    whole = sampled(place, None)
    alone = sampled((cells, replace(model, views=model.views[1:2]), folder), None)
    np.testing.assert_array_equal(whole.feature[whole.view == 1], alone.feature)


def test_a_damaged_file_is_sampled_again(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = sampled(place, tmp_path / "cells")
    damaged = next((tmp_path / "cells").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert_same(sampled(place, tmp_path / "cells"), first)
    assert caplog.messages == [f"{damaged}: damaged cells of a photo, sampled again"]
