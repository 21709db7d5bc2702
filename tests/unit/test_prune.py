"""A pruned map says of the points that stay what the map said before."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import CELL_CENTRE, CELL_RADIUS, CELL_START, POINT_LISTS
from edge_reloc.bundle.points import open_points
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.structs import Frame, Status
from edge_reloc_export.export_prune import main
from edge_reloc_export.packing.drop_points import drop_points
from tests.plane_world import CAMERA, make_plane_world, pose

CELLS, LISTS = 9, 5
TRANSLATION_TOLERANCE_M = 0.02  # as on the whole map, with half of its points


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """The corner, the same pruned by lot, and which points stayed."""
    world = make_plane_world(tmp_path_factory.mktemp("corner"), frames=3)
    generator = np.random.default_rng(0)
    points = open_points(open_bundle(world.bundle)).n
    with extend_bundle(world.bundle) as bundle:
        edges = np.sort(generator.choice(points, CELLS - 1, replace=False))
        bundle.add_array(CELL_START, np.array([0, *edges, points], np.int32))
        for name in (CELL_CENTRE, CELL_RADIUS):  # of all points: right for each cell
            array = open_bundle(world.bundle).array(name)
            bundle.add_array(name, np.repeat(array, CELLS, axis=0))
        for start_file, id_file in POINT_LISTS:
            ids = [np.sort(generator.choice(points, 100, replace=False)) for _ in range(LISTS)]
            bundle.add_array(start_file, (100 * np.arange(LISTS + 1)).astype(np.int32))
            bundle.add_array(id_file, np.concatenate(ids).astype(np.int32))
        bundle.manifest.methods["visible_structure"] = {
            "head": "cells",
            "heads": {"cells": {"network": "nets/cells.onnx", "candidates": 500}},
        }
    keep = generator.random(points) < 0.5
    keep[edges[0] : edges[1]] = False  # a cell that loses all
    before = open_bundle(world.bundle)
    pruned = world.bundle.with_name("pruned")
    with extend_bundle(world.bundle, pruned) as writer:
        drop_points(writer, before, keep)
    return world.bundle, pruned, keep


def test_points_keep_their_lists(place: tuple[Path, Path, np.ndarray]) -> None:
    before, after = open_bundle(place[0]), open_bundle(place[1], verify=True)
    keep = place[2]
    old, new = open_points(before), open_points(after)
    np.testing.assert_array_equal(new.xyz, old.xyz[keep])
    np.testing.assert_array_equal(new.descriptor, old.descriptor[keep])
    for start_file, id_file in ((CELL_START, None), *POINT_LISTS):
        lists = []
        for bundle, points, stays in ((before, old, keep), (after, new, np.ones(new.n, bool))):
            start = bundle.array(start_file)
            ids = np.arange(points.n) if id_file is None else bundle.array(id_file)
            lists.append(
                [points.xyz[[i for i in ids[a:b] if stays[i]]].tolist() for a, b in pairwise(start)]
            )
        assert lists[0] == lists[1]
    tuned = after.manifest.methods["visible_structure"]["heads"]["cells"]
    assert tuned["candidates"] == round(500 * keep.mean())


def test_pruned_map_localises(place: tuple[Path, Path, np.ndarray]) -> None:
    localizer = Localizer.open(
        open_bundle(place[1]), CAMERA, Settings(method="exhaustive", second_pass=True, threads=1)
    )
    frames = place[0].parent / "frames"
    for index in range(3):
        image = cv2.imread(str(frames / f"{index:03d}.png"), cv2.IMREAD_GRAYSCALE)
        estimate = localizer.localize(Frame(image=image, t_ns=index, camera=CAMERA)).estimate
        assert estimate.status is Status.OK
        error = pose_error(estimate.cam_from_world, pose(index / 2))
        assert error.translation < TRANSLATION_TOLERANCE_M
    localizer.close()


def test_map_without_work_folder_is_one_line(
    place: tuple[Path, Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--map", str(place[0])]) == 1
    assert "run 'edge-reloc map' first" in capsys.readouterr().err
    assert main(["--map", str(place[0]), "--published", "--cover", "2"]) == 1
    assert "cover: found 2.0, expected above 0 and at most 1" in capsys.readouterr().err
