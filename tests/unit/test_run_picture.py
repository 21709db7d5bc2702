"""The picture of a run: right colours at the right places."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import ConfigError, DiskError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, invert
from edge_reloc.memory.arena import Arena
from edge_reloc.running.floor_plan import FloorPlan
from edge_reloc.running.picture import (
    COLOURS,
    INLIER,
    MARGIN_PX,
    PLAN_PX,
    Recognised,
    RunPicture,
    landmark_colour,
)
from edge_reloc.structs import Correspondences, Frame, PoseEstimate, Status
from tests.results import localization

CAMERA = Camera(model="pinhole", width=640, height=480, fx=500, fy=500, cx=319.5, cy=239.5)
DOWN = np.array([0.0, 0.0, -1.0])


@pytest.fixture
def xyz() -> np.ndarray:
    return np.random.default_rng(0).uniform([0, 0, 0], [10, 5, 2], (3000, 3)).astype(np.float32)


def count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(axis=2).sum())


def watched(picture: RunPicture, statuses: list[Status]) -> None:
    matches = Correspondences(Arena(), 8)
    matches.n = 8
    matches.xy_px[:] = np.linspace([50, 50], [600, 400], 8)
    matches.xyz_world[:] = np.linspace([1, 1, 0], [9, 4, 2], 8)
    for index, status in enumerate(statuses):
        ok = status is Status.OK
        pose = invert(compose(np.eye(3), [1 + 0.2 * index, 2.5, 1.0])) if ok else None
        estimate = PoseEstimate(
            t_ns=index,
            status=status,
            cam_from_world=pose,
            inlier_index=np.arange(8, dtype=np.int32) if ok else None,
            index=index,
        )
        frame = Frame(image=np.full((480, 640), 200, np.uint8), t_ns=index, camera=CAMERA)
        picture.watch(frame, localization(estimate, matches))


def test_picture_shows_trajectory_statuses_and_inliers(tmp_path: Path, xyz: np.ndarray) -> None:
    picture = RunPicture(tmp_path / "run.png", xyz, DOWN, "m")
    watched(picture, [Status.OK] * 30 + [Status.NO_MATCHES] * 10)
    picture.write()
    image = cv2.imread(str(tmp_path / "run.png"))
    plan = image[MARGIN_PX : MARGIN_PX + PLAN_PX, MARGIN_PX : MARGIN_PX + PLAN_PX]
    assert count(plan, COLOURS[Status.OK]) > 30 * 9  # a dot has more than nine pixels
    assert count(plan, INLIER) > 0
    assert count(plan, COLOURS[Status.NO_MATCHES]) == 0  # no pose, no place on the map
    strip = image[PLAN_PX + 2 * MARGIN_PX + 5]
    share = (strip == COLOURS[Status.NO_MATCHES]).all(axis=1).sum() / (
        strip == COLOURS[Status.OK]
    ).all(axis=1).sum()
    assert share == pytest.approx(10 / 30, abs=0.01)  # a column of pixels is not a frame


def test_landmarks_have_their_colours_on_map_and_frame(tmp_path: Path, xyz: np.ndarray) -> None:
    label = (xyz[:, 0] > 5).astype(np.int32) + 1
    label[:100] = 0
    picture = RunPicture(tmp_path / "run.png", xyz, DOWN, "m", label)
    matches = Correspondences(Arena(), 8)
    frame = Frame(image=np.full((480, 640), 200, np.uint8), t_ns=0, camera=CAMERA)
    estimate = PoseEstimate(t_ns=0, status=Status.OK, cam_from_world=np.eye(4))
    spots = Recognised(
        np.array([[100, 100], [300, 100], [500, 100]], np.float32),
        np.array([1, 2, -1], np.int32),
    )
    picture.watch(frame, localization(estimate, matches, *spots))
    picture.write()
    image = cv2.imread(str(tmp_path / "run.png"))
    plan = image[MARGIN_PX : MARGIN_PX + PLAN_PX, MARGIN_PX : MARGIN_PX + PLAN_PX]
    middle = PLAN_PX // 2  # a landmark ends there; dots are a few pixels wide
    left, right = plan[:, : middle - 5], plan[:, middle + 5 :]
    one, two, none = landmark_colour(1), landmark_colour(2), landmark_colour(-1)
    assert len({one, two, none}) == 3
    assert count(left, one) > 500
    assert count(right, two) > 500
    assert count(left, two) == count(right, one) == count(plan, none) == 0
    shown = image[MARGIN_PX:, PLAN_PX + 2 * MARGIN_PX :]
    scale = (image.shape[1] - PLAN_PX - 3 * MARGIN_PX) / 640
    for xy, colour in zip(spots.xy_px, (one, two, none), strict=True):
        x, y = np.round((xy + 0.5) * scale - 0.5).astype(int)
        assert tuple(shown[y, x].tolist()) == colour


def test_inliers_have_the_colours_of_their_landmarks(tmp_path: Path, xyz: np.ndarray) -> None:
    label = np.ones(len(xyz), np.int32)
    label[7] = 2
    picture = RunPicture(tmp_path / "run.png", xyz, DOWN, "m", label)
    old = Recognised(np.array([[100, 100]], np.float32), np.array([3], np.int32))
    matches = Correspondences(Arena(), 8)
    matches.xy_px[0], matches.xyz_world[0], matches.point_id[0] = (300, 200), xyz[7], 7
    matches.n = 1
    frame = Frame(image=np.full((480, 640), 200, np.uint8), t_ns=0, camera=CAMERA)
    estimate = PoseEstimate(
        t_ns=0,
        status=Status.OK,
        cam_from_world=np.eye(4),
        inlier_index=np.zeros(1, np.int32),
    )
    picture.watch(frame, localization(estimate, matches, *old))
    picture.watch(
        frame, localization(estimate, matches)
    )  # tracked: nothing was recognised on this one
    picture.write()
    image = cv2.imread(str(tmp_path / "run.png"))
    plan, shown = image[:, : PLAN_PX + MARGIN_PX], image[:, PLAN_PX + 2 * MARGIN_PX :]
    assert count(plan, landmark_colour(2)) > 9
    assert count(shown, landmark_colour(2)) > 9
    assert count(shown, landmark_colour(1)) == count(shown, landmark_colour(3)) == 0


def test_picture_of_a_run_that_saw_nothing(tmp_path: Path, xyz: np.ndarray) -> None:
    picture = RunPicture(tmp_path / "run.jpg", xyz, None, "units")
    picture.write()
    assert cv2.imread(str(tmp_path / "run.jpg")) is not None


def test_picture_does_not_grow(
    tmp_path: Path, xyz: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_reloc.running.picture.TRACE_CAPACITY", 50)
    picture = RunPicture(tmp_path / "run.png", xyz, DOWN, "m")
    watched(picture, [Status.OK] * 400)
    assert len(picture._trace) <= 51


def test_wrong_suffix(tmp_path: Path, xyz: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"expected a picture named \.png or \.jpg"):
        RunPicture(tmp_path / "run.svg", xyz, DOWN, "m")


def test_no_folder(tmp_path: Path, xyz: np.ndarray) -> None:
    with pytest.raises(DiskError, match="cannot be written"):
        RunPicture(tmp_path / "nowhere" / "run.png", xyz, DOWN, "m").write()


def test_plan_is_seen_from_above(xyz: np.ndarray) -> None:
    """z up: x points right and y up on the paper, in one scale."""
    plan = FloorPlan(xyz.astype(np.float64), np.zeros((0, 3)), DOWN, 900)
    at = plan.pixels(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    np.testing.assert_allclose(at[1] - at[0], [plan.px_per_unit, 0], atol=1e-9)
    np.testing.assert_allclose(at[2] - at[0], [0, -plan.px_per_unit], atol=1e-9)
    np.testing.assert_allclose(at[3], at[0], atol=1e-9)


def test_plan_without_gravity_drops_the_thinnest_direction() -> None:
    rng = np.random.default_rng(1)
    xyz = rng.uniform(-1, 1, (500, 3)) * [5.0, 0.01, 3.0]
    plan = FloorPlan(xyz, np.zeros((0, 3)), None, 900)
    at = plan.pixels(np.array([[0.0, 0, 0], [0, 1, 0]]))
    # The axis is found from 500 points: it is off by a fraction of a degree.
    assert np.linalg.norm(at[1] - at[0]) < 0.02 * plan.px_per_unit


def test_plan_holds_the_trajectory_and_ignores_stray_points(xyz: np.ndarray) -> None:
    stray = np.concatenate([xyz, [[1000.0, 0, 0]]]).astype(np.float64)
    also = np.array([[-3.0, 2.0, 1.0]])
    plan = FloorPlan(stray, also, DOWN, 900)
    assert plan.extent < 20.0
    assert ((plan.pixels(also) > 0) & (plan.pixels(also) < 900)).all()


def test_scale_bar_is_round_and_fits(xyz: np.ndarray) -> None:
    for factor in (1e-3, 0.7, 3.0, 1e4):
        plan = FloorPlan(xyz * factor, np.zeros((0, 3)), DOWN, 900)
        length = plan.scale_bar()
        mantissa = length / 10 ** np.floor(np.log10(length))
        assert round(float(mantissa), 6) in (1.0, 2.0, 5.0, 10.0)
        assert 0.05 * plan.extent < length <= 0.2 * plan.extent + 1e-12
