"""What is trained is judged on mapping photos that it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycolmap")

from edge_reloc.geometry.camera import read_camera
from edge_reloc.methods.judgement import Judgement
from edge_reloc.reference.colmap import read_model
from edge_reloc.running.demo import DEMO
from edge_reloc_export.scene.model import SceneModel, View
from edge_reloc_export.training.judge import BLOCK, is_learnt, judge, left_out_views
from edge_reloc_export.training.landmarks.session import LandmarkReport
from edge_reloc_export.training.visible_structure.session import HeadReport, VisibleStructureReport
from edge_reloc_export.training.visible_structure.tuning import SHARES

FRAMES = 6


@pytest.mark.parametrize(("views", "left_out"), [(39, 0), (40, 4), (96, 8), (200, 20), (999, 24)])
def test_a_tenth_of_the_photos_is_left_out_where_there_are_enough(
    views: int, left_out: int
) -> None:
    chosen = left_out_views(views)
    assert len(chosen) == views and chosen.sum() == left_out
    edges = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0))
    assert set(np.diff(edges.reshape(-1, 2), axis=1).ravel()) <= {BLOCK}
    gaps = np.diff(edges[::2])
    assert left_out == 0 or gaps.max() - gaps.min() <= 1  # evenly spread


def told(photos: int, localised: int, wrong: int) -> Judgement:
    return Judgement(photos=photos, left_out=True, localised=localised, wrong=wrong)


@pytest.mark.parametrize(
    ("judgement", "learnt"),
    [
        (told(20, 20, 0), True),
        (told(20, 15, 1), True),
        (told(20, 14, 0), False),
        (told(8, 5, 0), False),
        (told(24, 24, 2), True),
        (told(24, 24, 3), False),
        (told(4, 4, 1), True),
        (told(4, 4, 2), False),
        (told(9, 9, 7), False),
        (told(4, 0, 0), False),
    ],
)
def test_most_must_be_localised_and_few_of_them_wrongly(judgement: Judgement, learnt: bool) -> None:
    assert is_learnt(judgement) == learnt


class Photos:
    """Frames of the demo as mapping photos, one of them black."""

    def __init__(self, folder: Path) -> None:
        self.work = folder
        cv2.imwrite(str(folder / "black.png"), np.zeros((480, 640), np.uint8))

    def photo(self, name: str) -> Path:
        return self.work / name if name == "black.png" else DEMO / "frames" / name


@pytest.fixture
def model() -> SceneModel:
    """Frames of the demo where they were taken; nobody saw the points, five metres away."""
    camera = read_camera(DEMO / "camera.json")
    truth = {image.name: image.cam_from_world for image in read_model(DEMO / "truth").images}
    names = [f"frame_{index:03d}.jpg" for index in range(FRAMES)]
    nothing = {"xy_px": np.zeros((0, 2), np.float32), "point_id": np.zeros(0, np.int32)}
    nothing["keypoint"] = np.zeros(0, np.int32)
    views = [View(name=n, camera=camera, cam_from_world=truth[n], **nothing) for n in names]
    ahead = np.linalg.inv(views[0].cam_from_world) @ [0.0, 0.0, 5.0, 1.0]
    return SceneModel(views=views, xyz=ahead[None, :3], metric=True)


def test_photos_left_out_are_localised_as_a_device_would(model: SceneModel, tmp_path: Path) -> None:
    left_out = np.arange(FRAMES) < 4
    judged = judge(DEMO / "map", model, Photos(tmp_path), left_out)
    assert (judged.photos, judged.localised, judged.wrong, judged.left_out) == (4, 4, 0, True)
    assert judged.median_error is not None and judged.median_error < 0.02
    assert judged.median_deg is not None and judged.median_deg < 0.3
    assert judged.told(metric=True).startswith(
        "4 of 4 mapping photos left out of the training localised, none of them wrongly, median "
    )


def test_a_pose_far_off_is_wrong_and_a_black_photo_has_none(
    model: SceneModel, tmp_path: Path
) -> None:
    """A shift of 5 % of the distance is forgiven, and a turn of 5 degrees."""
    views = list(model.views)
    views[0] = replace(views[0], name="black.png")
    for index, (shift, turn_deg) in {1: (0.3, 0.0), 2: (0.2, 0.0), 3: (0.0, 6.0)}.items():
        moved = np.eye(4)
        moved[:3, :3] = cv2.Rodrigues(np.radians([0.0, turn_deg, 0.0]))[0]
        moved[0, 3] = shift
        views[index] = replace(views[index], cam_from_world=moved @ views[index].cam_from_world)
    nobody = np.zeros(FRAMES, bool)
    judged = judge(DEMO / "map", replace(model, views=views), Photos(tmp_path), nobody)
    assert (judged.photos, judged.localised, judged.wrong) == (FRAMES, FRAMES - 1, 2)
    assert not judged.left_out and "(learnt, too few to leave any)" in judged.told(metric=True)


@pytest.mark.parametrize(("found", "doubted"), [(0.45, True), (0.61, False)])
def test_other_methods_say_when_they_find_little(found: float, doubted: bool) -> None:
    recognised = LandmarkReport(
        landmarks=9, recognised=found, precision_at_1=0.5, on="photos", seconds=1, losses=[]
    )
    head = HeadReport(
        seconds=1.0,
        share=SHARES.tolist(),
        recall=(found * np.minimum(SHARES / 0.3, 1)).tolist(),
        candidates=1500,
        losses=[],
    )
    for report in (recognised, VisibleStructureReport(heads={"cells": head})):
        assert ("that is little" in report.summary()) == doubted
        assert report.refusal is None
