"""A wrong camera file is found out by frames, and a right one is not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import edge_reloc
from edge_reloc.arrays import F64
from edge_reloc.errors import ConfigError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import compose, error_vector, so3_exp, transform
from edge_reloc.memory.arena import Arena
from edge_reloc.pose import calibration_check
from edge_reloc.pose.calibration_check import (
    CALM,
    CAMERAS,
    NOW_AND_THEN,
    PULL,
    SEVERAL,
    SHARED,
    SHOWN,
    CalibrationCheck,
    Evidence,
    refit,
)
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.running.demo import DEMO
from edge_reloc.settings import Gate
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Correspondences, Frame, PoseEstimate, Status

CAMERA = Camera(
    model="opencv",
    width=640,
    height=480,
    fx=500,
    fy=502,
    cx=321,
    cy=238,
    distortion=(-0.1, 0.02, 1e-3, -5e-4),
)
INLIER_PX = 8.0
SOLVER = PoseSolver(threshold_px=INLIER_PX, gate=Gate(), seed=0)
NOISE_PX = 0.7
SIGMAS = 4.0  # that an estimate may be off by: once in 16,000 by chance
# Root mean square of errors over their sigma: errors that neighbours share are looked for, and
# where there are none, sigma comes out a little large.
LIKE_SIGMA = 0.6, 1.1
NEARLY_FLAT = 3.0, 3.3  # metres: depths that leave some trade between focal length and place
EXACT = {"calibration_check": False, "camera_error_percent": 0.1}
FOCAL_KNOWN_PERCENT = 1.0  # by 300 points at 2 to 6 m


def with_focal(factor: float) -> Camera:
    """The camera with focal lengths that are wrong by a factor."""
    return replace(CAMERA, fx=CAMERA.fx * factor, fy=CAMERA.fy * factor)


def view(
    seed: int, points: int = 300, depth: tuple[float, float] = (2.0, 6.0), wrong: float = 0.0
) -> tuple[F64, F64, F64]:
    """cam_from_world, pixels and points of a noisy frame; wrong: share of bad matches."""
    generator = np.random.default_rng(seed)
    cam_from_world = compose(so3_exp(generator.normal(size=3)), generator.uniform(-2, 2, 3))
    xy = generator.uniform([10, 10], [630, 470], (points, 2))
    rays = np.column_stack([CAMERA.rays_from_pixels(xy), np.ones(points)])
    xyz = rays * generator.uniform(*depth, points)[:, None]
    xyz = transform(np.linalg.inv(cam_from_world), xyz)
    xy += generator.normal(size=xy.shape) * NOISE_PX
    bad = generator.random(points) < wrong
    xy[bad] += generator.uniform(-9, 9, (bad.sum(), 2))
    return cam_from_world, xy, xyz


def located(camera: Camera, frame: tuple[F64, F64, F64]) -> tuple[Correspondences, PoseEstimate]:
    """What a localiser with that camera makes of a frame."""
    _, xy, xyz = frame
    matches = Correspondences(Arena(), len(xy))
    matches.n = len(xy)
    matches.xy_px[:], matches.xyz_world[:], matches.weight[:] = xy, xyz, 1.0
    estimate = SOLVER.solve(camera, matches)
    assert estimate.status is Status.OK, estimate.reason
    return matches, estimate


def refitted(camera: Camera, frame: tuple[F64, F64, F64]) -> tuple[F64, F64]:
    """What the frame alone says of the camera: numbers (4,), standard deviations (4,)."""
    _, estimate = located(camera, frame)
    assert estimate.cam_from_world is not None
    found = refit(camera, estimate.cam_from_world, *frame[1:], INLIER_PX)
    assert found is not None
    return found.belief().numbers, found.belief().sigma


def judged(
    check: CalibrationCheck, camera: Camera, frames: list[tuple[F64, F64, F64]]
) -> Iterator[PoseEstimate]:
    """Each frame's answer."""
    for frame in frames:
        yield check.judge(camera, *located(camera, frame))


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.03, 1.25])
def test_focal_length_is_found(factor: float) -> None:
    numbers, sigma = refitted(with_focal(factor), view(3))
    assert abs(numbers[0] + np.log(factor)) < SIGMAS * sigma[0]
    assert 100 * sigma[0] < FOCAL_KNOWN_PERCENT


@pytest.mark.parametrize("kind", ["pinhole", "fisheye"])
def test_every_lens_is_asked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = replace(CAMERA, model=kind, fx=400, fy=400, distortion=())
    monkeypatch.setattr(sys.modules[__name__], "CAMERA", right)
    numbers, sigma = refitted(with_focal(0.9), view(6))
    assert abs(numbers[0] + np.log(0.9)) < SIGMAS * sigma[0]
    assert 100 * sigma[0] < FOCAL_KNOWN_PERCENT


@pytest.mark.parametrize(("x", "y"), [(0.03, 0.0), (-0.06, 0.1)])
def test_principal_point_is_found(x: float, y: float) -> None:
    frame = view(4)
    camera = replace(CAMERA, cx=CAMERA.cx + x * CAMERA.fx, cy=CAMERA.cy + y * CAMERA.fy)
    numbers, sigma = refitted(camera, frame)
    assert (np.abs(numbers[1:3] + [x, y]) < SIGMAS * sigma[1:3]).all()
    assert (sigma[1:3] < 0.01).all()


def test_sigma_is_what_errors_show() -> None:
    errors = []
    for seed in range(100):
        frame = view(seed, wrong=0.1)
        numbers, sigma = refitted(CAMERA, frame)
        errors.append(numbers[:3] / sigma[:3])
    low, high = LIKE_SIGMA
    spread = np.sqrt(np.square(errors).mean(axis=0))
    assert ((low < spread) & (spread < high)).all(), spread


def test_a_frame_behind_the_camera_says_nothing() -> None:
    pose, xy, xyz = view(5)
    behind = compose(np.diag([1.0, -1.0, -1.0]), np.zeros(3)) @ pose
    assert refit(CAMERA, behind, xy, xyz, INLIER_PX) is None


def test_the_first_frame_is_refused_and_both_figures_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check = CalibrationCheck()
    with caplog.at_level(logging.WARNING):
        answers = list(judged(check, with_focal(0.8), [view(seed) for seed in range(6)]))
    assert {answer.status for answer in answers} == {Status.IMPLAUSIBLE}
    assert all(a.cam_from_world is None and a.covariance is None for a in answers)
    first, last = answers[0].reason, answers[-1].reason
    assert first is not None and last is not None
    assert first.startswith("at 640x480 the camera file says fx 400.0 px, the matches of this")
    assert first.endswith("calibrate the camera with 'edge-reloc calibrate'")
    found = float(first.split("say ")[1].split()[0])
    assert abs(found / CAMERA.fx - 1) < 0.03
    assert "the matches of 6 frames say" in last
    assert len(caplog.records) == 1
    assert first in caplog.text


def test_a_right_file_is_never_refused() -> None:
    check = CalibrationCheck()
    frames = [view(seed, points=40 + 5 * seed, wrong=0.2) for seed in range(60)]
    answers = list(judged(check, CAMERA, frames))
    assert {answer.status for answer in answers} == {Status.OK}


def test_small_errors_take_several_frames() -> None:
    frames = [view(seed, depth=NEARLY_FLAT) for seed in range(40)]
    answers = list(judged(CalibrationCheck(), with_focal(1.04), frames))
    refused = [answer.status is Status.IMPLAUSIBLE for answer in answers]
    assert not any(refused[: SEVERAL - 1])
    assert all(refused[10:])


def test_what_does_not_matter_is_let_through() -> None:
    frames = [view(seed) for seed in range(40)]
    answers = list(judged(CalibrationCheck(), with_focal(1.01), frames))
    assert {answer.status for answer in answers} == {Status.OK}


def test_a_flat_wall_seen_from_the_front_proves_nothing() -> None:
    camera = with_focal(1.25)
    frames = [view(seed, depth=(3.0, 3.0)) for seed in range(30)]
    _, estimate = located(camera, frames[0])
    assert estimate.cam_from_world is not None
    found = refit(camera, estimate.cam_from_world, *frames[0][1:], INLIER_PX)
    assert found is not None
    assert found.belief().sigma[0] > 0.1
    answers = list(judged(CalibrationCheck(), camera, frames))
    assert {answer.status for answer in answers} == {Status.OK}


def test_too_few_inliers_are_not_asked() -> None:
    answers = list(
        judged(CalibrationCheck(), with_focal(0.9), [view(1, points=25, depth=NEARLY_FLAT)])
    )
    assert answers[0].status is Status.OK


def test_wrong_matches_do_not_hide_a_wrong_file() -> None:
    answers = list(judged(CalibrationCheck(), with_focal(0.8), [view(2, wrong=0.4)]))
    assert answers[0].status is Status.IMPLAUSIBLE


def test_what_is_found_around_a_pose_of_a_wrong_camera_does_not_clear_it() -> None:
    """Around such a pose something similar lies within reach of every point."""
    wrong, frame = with_focal(1.25), view(2)
    matches, estimate = located(wrong, frame)
    assert estimate.cam_from_world is not None
    found = Correspondences(Arena(), matches.n)
    found.n = matches.n
    found.xyz_world[:], found.weight[:] = frame[2], 1.0
    away = np.random.default_rng(0).uniform(-0.5, 0.5, (found.n, 2)) * INLIER_PX
    found.xy_px[:] = wrong.project(transform(estimate.cam_from_world, frame[2])) + away
    guided = replace(estimate, inlier_index=np.arange(found.n, dtype=np.int32))
    assert CalibrationCheck().judge(wrong, found, guided).status is Status.OK
    refused = CalibrationCheck().judge(wrong, found, guided, matches)
    assert refused.status is Status.IMPLAUSIBLE and refused.reason is not None
    said = float(refused.reason.split("say ")[1].split()[0])
    assert abs(said / CAMERA.fx - 1) < 0.03


def test_where_too_few_matches_are_no_pose_s_choice_what_was_found_tells_less() -> None:
    frame, sigma = view(3, depth=NEARLY_FLAT), []
    matches, estimate = located(CAMERA, frame)
    few, _ = located(CAMERA, view(1, points=25))
    for unguided in (None, few):
        check = CalibrationCheck()
        assert check.judge(CAMERA, matches, estimate, unguided).status is Status.OK
        error = check.error(CAMERA, matches, estimate)
        assert error is not None
        sigma.append(np.sqrt(error.covariance[5, 5]))
    assert 2.0 < sigma[1] / sigma[0] < 1.0 / SHOWN + 0.1


def test_the_second_pass_leaves_what_no_pose_has_chosen() -> None:
    found = []
    for second_pass in (False, True):
        settings = {"method": "exhaustive", "second_pass": second_pass, "threads": 1}
        with edge_reloc.open(DEMO / "map", camera=DEMO / "camera.json", **settings) as localizer:
            for number in range(3):  # buffers take turns
                localizer.localize(DEMO / "frames" / f"frame_{number:03d}.jpg")
            work = localizer._work
            assert (work.unguided is None) == (not second_pass)
            kept = work.matches if work.unguided is None else work.unguided
            found.append(kept.xy_px[: kept.n].copy())
    assert np.array_equal(*found)


def test_one_odd_frame_does_not_condemn_the_camera() -> None:
    check = CalibrationCheck()
    # Seen through a lens of 1.3 times the focal length.
    matches, estimate = located(CAMERA, view(1))
    matches.xy_px[:] = CAMERA.matrix[:2, 2] + 1.3 * (matches.xy_px - CAMERA.matrix[:2, 2])
    odd = check.judge(CAMERA, matches, estimate)
    assert odd.status is Status.IMPLAUSIBLE
    answers = list(judged(check, CAMERA, [view(seed) for seed in range(2, 12)]))
    assert {answer.status for answer in answers} == {Status.OK}


def test_frames_err_together() -> None:
    frame = view(7)
    _, estimate = located(CAMERA, frame)
    assert estimate.cam_from_world is not None
    found = refit(CAMERA, estimate.cam_from_world, *frame[1:], INLIER_PX)
    assert found is not None
    evidence = Evidence()
    for _ in range(500):
        evidence.add(found)
    assert evidence.belief is not None
    shared = np.sqrt(SHARED) * found.belief().sigma[0]
    assert shared < evidence.belief.sigma[0] < 1.2 * shared


def test_a_pose_knows_what_a_wrong_file_does_to_it() -> None:
    camera = with_focal(1.03)
    for seed in range(5):
        frame, check = view(seed), CalibrationCheck()
        matches, estimate = located(camera, frame)
        check.judge(camera, matches, estimate)  # refused or not: what it is off by is the same
        found = check.error(camera, matches, estimate)
        assert found is not None and estimate.cam_from_world is not None
        # The depths of 300 points tell the focal length, so the shift alone mends the pose.
        away = error_vector(estimate.cam_from_world, frame[0])
        off = away - found.shift / PULL
        sigma = np.sqrt(np.diag(found.covariance + estimate.covariance))
        assert (np.abs(off) < SIGMAS * sigma).all()
        assert abs(away[5]) > 3 * abs(off[5])


def test_the_more_frames_the_less_a_file_may_be_wrong() -> None:
    check, sigma = CalibrationCheck(), []
    few, few_estimate = located(CAMERA, view(1, points=25))
    for seed in range(20):
        found = check.error(CAMERA, few, few_estimate)
        assert found is not None
        sigma.append(float(np.sqrt(np.trace(found.covariance[3:, 3:]))))
        check.judge(CAMERA, *located(CAMERA, view(seed, depth=NEARLY_FLAT)))
    unasked, once, often = sigma[0], sigma[1], sigma[-1]
    assert unasked > 10 * once and once > 1.2 * often
    none = replace(few_estimate, cam_from_world=None)
    assert check.error(CAMERA, few, none) is None


def test_a_vouched_file_is_off_by_no_more() -> None:
    """Files that are off by half a percent of normal errors, and said to be: first frames."""
    generator, ratio = np.random.default_rng(0), []
    for seed in range(40):
        camera = with_focal(float(np.exp(0.005 * generator.normal())))
        frame, check = view(seed, depth=NEARLY_FLAT), CalibrationCheck(0.005)
        matches, estimate = located(camera, frame)
        check.judge(camera, matches, estimate)
        found = check.error(camera, matches, estimate)
        assert found is not None and found.vouched and estimate.cam_from_world is not None
        off = error_vector(estimate.cam_from_world, frame[0]) - found.shift / PULL
        ratio.append(off[5] / np.sqrt(found.covariance[5, 5] + estimate.covariance[5, 5]))
    assert LIKE_SIGMA[0] < np.sqrt(np.mean(np.square(ratio))) < LIKE_SIGMA[1]


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_what_is_vouched_for_holds_before_any_frame_has_told(share: float) -> None:
    few, estimate = located(CAMERA, view(1, points=25))
    plain = CalibrationCheck().error(CAMERA, few, estimate)
    found = CalibrationCheck(share).error(CAMERA, few, estimate)
    assert plain is not None and found is not None and not plain.vouched
    assert not found.shift.any()
    # A share of the depth, of 2 to 6 m, by the focal length; more by the other three.
    sigma = float(np.sqrt(found.covariance[5, 5]))
    assert 2.0 * share < sigma < 20.0 * share
    assert np.sqrt(plain.covariance[5, 5]) > 20 * sigma


def test_a_vouched_file_makes_the_first_level_of_the_demo_small() -> None:
    """6 cm of a file that may be another camera's, 2 cm of one that is known to 0.1 %."""
    frame, levels = DEMO / "frames" / "frame_000.jpg", []
    for percent in (None, 0.1):
        settings = {"method": "exhaustive", "camera_error_percent": percent, "threads": 1}
        with edge_reloc.open(DEMO / "map", camera=DEMO / "camera.json", **settings) as localizer:
            levels.append(localizer.localize(frame).estimate.hpl_m)
    assert levels[1] < 0.5 * levels[0]


def test_vouching_for_a_file_that_is_taken_for_exact_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"camera_error_percent: found 0\.1 without calib"):
        edge_reloc.open(DEMO / "map", camera=DEMO / "camera.json", **EXACT)


def test_each_camera_stands_for_itself() -> None:
    check = CalibrationCheck()
    wrong, frames = with_focal(1.04), [view(seed, depth=NEARLY_FLAT) for seed in range(20)]
    for frame in frames:
        assert check.judge(CAMERA, *located(CAMERA, frame)).status is Status.OK
        last = check.judge(replace(wrong), *located(wrong, frame))  # equal, another object
    assert last.status is Status.IMPLAUSIBLE


def test_only_the_last_cameras_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    check = CalibrationCheck()
    matches, estimate = located(with_focal(0.8), view(1))
    for zoom in range(3 * CAMERAS):
        camera = replace(with_focal(0.8), cx=CAMERA.cx + 1e-3 * zoom)
        assert check.judge(camera, matches, estimate).status is Status.IMPLAUSIBLE
    assert len(check._evidence) == CAMERAS
    assert len(caplog.records) == CAMERAS


def test_once_calm_only_some_frames_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*given: object) -> object:
        asked.append(given)
        return refit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration_check, "refit", counted)
    check, more = CalibrationCheck(), 40
    matches, estimate = located(CAMERA, view(1))
    for _ in range(SEVERAL + CALM + more):
        check.judge(CAMERA, matches, estimate)
    assert CALM <= len(asked) <= CALM + SEVERAL + more // NOW_AND_THEN + 1
    # The lens was touched: every frame is asked again, and refused.
    blown = CAMERA.matrix[:2, 2] + 1.3 * (matches.xy_px - CAMERA.matrix[:2, 2])
    matches.xy_px[:] = blown
    answers = [check.judge(CAMERA, matches, estimate) for _ in range(NOW_AND_THEN + 5)]
    assert all(answer.status is Status.IMPLAUSIBLE for answer in answers[NOW_AND_THEN:])


@pytest.mark.parametrize(
    ("method", "factor"),
    [
        ("visible_structure", 0.5),
        ("visible_structure", 0.95),
        ("visible_structure", 1.25),
        ("scene_coordinates", 0.5),
        ("scene_coordinates", 2.0),
    ],
)
def test_the_demo_with_a_wrong_file(method: str, factor: float) -> None:
    camera = read_camera(DEMO / "camera.json")
    wrong = replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)
    photo = DEMO / "frames" / "frame_000.jpg"
    with edge_reloc.open(DEMO / "map", wrong, method=method) as localizer:
        refused = localizer.localize(photo)
        assert refused.status is Status.IMPLAUSIBLE
        assert refused.reason is not None and "'edge-reloc calibrate'" in refused.reason
        assert refused.estimate.stages_ms["calibration"] > 0
        # A frame that names the right camera is none of the wrong one's business.
        image = read_photo(photo)
        assert localizer.localize(Frame(image=image, t_ns=0, camera=camera)).ok
    unchecked = {"method": method, "calibration_check": False, "min_p_right": 0.0}
    with edge_reloc.open(DEMO / "map", wrong, **unchecked) as localizer:
        assert localizer.localize(photo).ok


def test_a_refused_frame_is_not_tracked_from() -> None:
    camera = read_camera(DEMO / "camera.json")
    wrong = replace(camera, fx=camera.fx * 0.8, fy=camera.fy * 0.8)
    with edge_reloc.open(DEMO / "map", camera, tracking=True) as localizer:
        image = read_photo(DEMO / "frames" / "frame_000.jpg")
        for number, kind in enumerate([camera, wrong, camera, camera]):
            frame = Frame(image=image, t_ns=1 + number * 10_000_000, camera=kind)
            stages = localizer.localize(frame).estimate.stages_ms
            # From the pose before, unless there is none or it was refused.
            assert ("retrieve" not in stages) == (number in (1, 3))
