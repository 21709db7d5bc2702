"""A map of more places costs no more a frame: counted in points, not in time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edge_reloc.bundle import extend_bundle, layout, open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.pose.cells_in_view import CellsInView
from edge_reloc.reference.truth import read_truth
from edge_reloc.running.demo import DEMO
from edge_reloc.sources import open_source

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FEW, MANY = 4, 16  # the first place has the same neighbours in both
ALIASING, FRAMES = 0.5, 3
RIGHT_M, RIGHT_DEG = 0.05, 0.5
METHODS = {
    "cells": {"method": "visible_structure", "head": "cells"},
    "generative": {"method": "visible_structure", "head": "generative"},
    "landmarks": {"method": "landmarks"},
    "image_retrieval": {"method": "image_retrieval"},
}


class Touched(NamedTuple):
    """Of some frames together."""

    candidates: int
    looked_at: int
    right: int
    arena_bytes: int


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The demo's place among a few like it, and among many."""
    folder = tmp_path_factory.mktemp("worlds")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from large_world import write_world

        points = open_bundle(DEMO / "map").manifest.statistics["points"]
        for count in (FEW, MANY):
            output = folder / str(count)
            write_world(DEMO / "map", output, points=count * points, aliasing=ALIASING)
    return folder / str(FEW), folder / str(MANY)


def touched(world: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Touched:
    """What the first frames of the demo make a localiser touch, with the second pass."""
    looked_at: list[int] = []
    find = CellsInView.find

    def counted(self: CellsInView, *given: object) -> np.ndarray:
        cells = find(self, *given)  # type: ignore[arg-type]
        looked_at.append(int(size[cells].sum()))
        return cells

    bundle, camera = open_bundle(world), read_camera(DEMO / "camera.json")
    size = np.diff(bundle.array(layout.CELL_START))
    truth, candidates, right = read_truth(DEMO / "truth"), 0, 0
    settings_of_it = Settings(second_pass=True, threads=1, **settings)  # type: ignore[arg-type]
    with (
        monkeypatch.context() as patch,
        Localizer.open(bundle, camera, settings_of_it) as localizer,
    ):
        patch.setattr(CellsInView, "find", counted)
        for frame in islice(open_source(DEMO / "frames", camera), 0, 16 * FRAMES, 16):
            found = localizer.localize(frame).estimate
            candidates += found.candidates
            if found.cam_from_world is not None:
                error = pose_error(found.cam_from_world, truth[frame.name])
                right += error.translation < RIGHT_M and error.rotation_deg < RIGHT_DEG
        return Touched(candidates, sum(looked_at), right, localizer.arena_bytes)


@pytest.mark.parametrize("method", METHODS)
def test_more_places_are_not_more_work(
    method: str, worlds: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = touched(worlds[0], monkeypatch, **METHODS[method])
    many = touched(worlds[1], monkeypatch, **METHODS[method])
    assert few.right == many.right == FRAMES
    assert many.candidates <= 1.1 * few.candidates
    assert many.looked_at <= 1.5 * few.looked_at  # cells are larger
    # What a landmark network answers, and one number for each photo, grow with the map.
    assert many.arena_bytes <= 3 * few.arena_bytes


def test_without_observers_the_whole_cone_is_looked_at(
    worlds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = []
    for world in worlds:
        with extend_bundle(world, tmp_path / world.name) as writer:
            writer.remove(layout.CELL_OBSERVERS)
        blind.append(touched(tmp_path / world.name, monkeypatch, **METHODS["image_retrieval"]))
    assert blind[1].looked_at > 2 * blind[0].looked_at
