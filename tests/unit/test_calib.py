"""Calibration: known cameras come back, and bad photos are told apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import board_world
import cv2
import numpy as np
import pytest

from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.sources import open_source
from edge_reloc_calib import calibrate as program
from edge_reloc_calib.boards import parse_board
from edge_reloc_calib.coverage import Coverage, tilts_deg
from edge_reloc_calib.detectors import BoardDetector
from edge_reloc_calib.fit import board_poses, fit_camera
from edge_reloc_calib.gather import Gathered, gather_live, mean_distance_px, unusable
from edge_reloc_calib.intrinsics import calibrate
from edge_reloc_calib.report import Report
from edge_reloc_calib.residuals import Problem, View
from edge_reloc_calib.uncertainty import std_by_corner

# Of the focal length; the acceptance limit of the project (measured: under 0.1 %).
FOCAL_TOLERANCE = 0.005
HELD_OUT_PX = 0.3  # the acceptance limit (measured: 0.05 to 0.07 px)
CENTRE_TOLERANCE_PX = 1.5  # 4 standard deviations of a dozen small photos
CORNER_NOISE_PX = 0.1
# Estimates from Gaussian noise stay within this many standard deviations (p < 1e-6 each)
SIGMAS = 5.0

CAMERAS = {
    "pinhole": Camera(model="pinhole", width=480, height=360, fx=380, fy=383, cx=243, cy=176),
    "opencv": Camera(
        model="opencv",
        width=480,
        height=360,
        fx=380,
        fy=383,
        cx=243,
        cy=176,
        distortion=(-0.28, 0.09, 0.001, -0.0006),
    ),
    "fisheye": Camera(
        model="fisheye",
        width=480,
        height=360,
        fx=190,
        fy=191,
        cx=241,
        cy=178,
        distortion=(-0.02, 0.005, -0.003, 0.001),
    ),
}
BOARDS = {"charuco": "charuco:7x5:0.03:0.022", "chessboard": "chessboard:7x5:0.03"}
PHOTOS = 10


def render(lens: str, kind: str, folder: Path) -> Path:
    camera = CAMERAS[lens]
    world = board_world.BoardWorld(parse_board(BOARDS[kind]), camera)
    distance_m = 0.03 * 7 * camera.fx / 230
    folder.mkdir()
    for i, cam_from_board in enumerate(world.poses(PHOTOS, distance_m)):
        cv2.imwrite(str(folder / f"board{i}.png"), world.photo(cam_from_board, i))
    return folder


@pytest.fixture(scope="module")
def charuco_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good photos through the distorted lens, one blurred, one empty, one cut off."""
    folder = render("opencv", "charuco", tmp_path_factory.mktemp("calib") / "photos")
    sharp = cv2.imread(str(folder / "board0.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "blurred.png"), cv2.GaussianBlur(sharp, (0, 0), 2.6))
    cv2.imwrite(str(folder / "empty.png"), np.full_like(sharp, 90))
    (folder / "cut.png").write_bytes((folder / "board0.png").read_bytes()[:5000])
    return folder


def corner_views(
    camera: Camera, count: int, noise_px: float, seed: int = 0, tilted: bool = True
) -> list[View]:
    """Views from projected corners alone, for what needs no pixels."""
    board = parse_board("chessboard:10x8:0.03")
    world = board_world.BoardWorld(board, replace(camera, width=16, height=16))
    world.camera = camera
    rng = np.random.default_rng(seed)
    views = []
    for i in range(count):
        w, h = camera.width, camera.height
        centre = (w * rng.uniform(0.2, 0.8), h * rng.uniform(0.2, 0.8))
        tilt_deg = 40 if tilted else 0
        turn = [*rng.uniform(-tilt_deg, tilt_deg, 2), rng.uniform(-30, 30)]
        distance_m = 0.3 * camera.fx / (0.5 * w) * rng.uniform(0.8, 1.3)
        xy = world.true_corners_px(world.pose(centre, distance_m, turn, facing=tilted))
        xy = xy + rng.normal(0, noise_px, xy.shape)
        views.append(View(name=f"view{i}", xyz_board=board.corners_m, xy_px=xy))
    return views


@pytest.mark.parametrize(
    ("lens", "kind"),
    [("pinhole", "charuco"), ("opencv", "chessboard"), ("fisheye", "charuco")],
)
def test_a_rendered_camera_comes_back(tmp_path: Path, lens: str, kind: str) -> None:
    folder = render(lens, kind, tmp_path / "photos")
    output = tmp_path / "camera.json"
    arguments = ["--board", BOARDS[kind], "--images", str(folder), "--output", str(output)]
    assert program.main(arguments) == 0
    check_camera(read_camera(output), CAMERAS[lens])


def check_camera(found: Camera, true: Camera) -> None:
    assert found.model == true.model
    assert found.fx == pytest.approx(true.fx, rel=FOCAL_TOLERANCE)
    assert found.fy == pytest.approx(true.fy, rel=FOCAL_TOLERANCE)
    assert abs(found.cx - true.cx) < CENTRE_TOLERANCE_PX
    assert abs(found.cy - true.cy) < CENTRE_TOLERANCE_PX
    assert found.rms_px is not None and found.rms_px < HELD_OUT_PX
    # Rays agree inside the part of the image where corners were seen.
    u, v = np.meshgrid(np.linspace(60, 420, 7), np.linspace(50, 310, 5))
    xy = true.rays_from_pixels(np.stack([u.ravel(), v.ravel()], axis=1))
    difference = found.pixels_from_rays(xy) - true.pixels_from_rays(xy)
    difference -= difference.mean(axis=0)  # a shifted centre is a turned camera
    assert np.abs(difference).max() < 1.0


def test_program_rejects_bad_photos_with_a_reason(
    charuco_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "camera.json"
    arguments = ["--board", BOARDS["charuco"], "--images", str(charuco_photos)]
    assert program.main([*arguments, "--output", str(output), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["rejected"]) == {"blurred.png", "empty.png", "cut.png"}
    assert report["rejected"]["blurred.png"].startswith(("blurred: edges", "no board found"))
    assert report["rejected"]["empty.png"] == "no board found"
    assert report["rejected"]["cut.png"].startswith("not a readable image")
    assert report["lens"] == "opencv"
    assert report["tried_px"]["pinhole"] > 5 * report["tried_px"]["opencv"]
    assert report["held_out_rms_px"] >= report["training_rms_px"]
    assert len(report["held_out_px"]) == PHOTOS
    camera = read_camera(output)
    assert camera.to_dict() == report["camera"]
    check_camera(camera, CAMERAS["opencv"])


def test_report_for_people(
    charuco_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "camera.json"
    arguments = ["--board", BOARDS["charuco"], "--images", f"{charuco_photos}/board?.png"]
    assert program.main([*arguments, "--model", "fisheye", "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert "lens        fisheye" in text and "held out" in text and "k4" in text
    assert read_camera(output).model == "fisheye"


def test_views_are_picked_from_a_video(
    charuco_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "board.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (480, 360))
    for i in range(7):
        image = cv2.imread(str(charuco_photos / f"board{i}.png"))
        for _ in range(3):  # held still: one is taken, the repeats are not
            writer.write(image)
    writer.release()
    output = tmp_path / "camera.json"
    preview = tmp_path / "preview.png"
    arguments = ["--board", BOARDS["charuco"], "--source", str(path), "--model", "opencv"]
    arguments += ["--preview", str(preview)]
    assert program.main([*arguments, "--output", str(output), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert cv2.imread(str(preview)).shape == (360, 480, 3)
    taken = [int(name) for name in report["held_out_px"]]
    assert len({number // 3 for number in taken}) == len(taken) >= 5
    assert all(number % 3 > 0 for number in taken)  # the first frame at a place may be moving
    assert any(f"only {len(taken)} views" in line for line in report["warnings"])
    assert read_camera(output).fx == pytest.approx(CAMERAS["opencv"].fx, rel=2 * FOCAL_TOLERANCE)


def test_ctrl_c_while_picking_means_calibrate_now(charuco_photos: Path) -> None:
    source = open_source(f"{charuco_photos}/board?.png")
    twice = (frame for frame in source for _ in range(2))
    lines: list[str] = []

    def progress(line: str) -> None:
        lines.append(line)
        if line.startswith("views 3/"):
            raise KeyboardInterrupt

    gathered = gather_live(twice, parse_board(BOARDS["charuco"]), 20, progress)
    assert len(gathered.views) == 3
    assert "hold still" in lines[0] and "taken" in lines[1]
    with pytest.raises(CameraError, match="was never seen sharp and still"):
        gather_live(source, parse_board(BOARDS["charuco"]), 20, lines.append)


def errors_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert program.main(arguments) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ") and line.count("\n") == 1
    return line


def test_errors_are_one_line_with_the_cure(
    charuco_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = ["--images", f"{charuco_photos}/board[012].png"]
    output = ["--output", str(tmp_path / "camera.json")]
    few = errors_of(["--board", BOARDS["charuco"], *images, *output], capsys)
    assert "found in 3 photos, expected at least 5" in few
    turned = errors_of(["--board", "charuco:5x7:0.03:0.022", *images, *output], capsys)
    assert "they show charuco:7x5:0.03:0.022:DICT_5X5_250" in turned
    one = ["--images", str(charuco_photos / "board0.png")]
    other = errors_of(["--board", "chessboard:9x4:0.03", *one, *output], capsys)
    assert "they show charuco:7x5:0.03:0.0225:DICT_5X5_1000" in other
    none = ["--images", str(charuco_photos / "empty.png")]
    assert "check the board's text" in errors_of([*none, *output], capsys)
    folder = tmp_path / "sizes"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((96, 128), np.uint8))
    cv2.imwrite(str(folder / "b.png"), np.zeros((128, 96), np.uint8))
    sizes = errors_of(["--board", BOARDS["charuco"], "--images", str(folder), *output], capsys)
    assert "a.png is 128x96, b.png is 96x128" in sizes
    nowhere = ["--output", str(tmp_path / "no" / "camera.json")]
    assert "no/camera.json: cannot be written (No such" in errors_of(
        ["--board", BOARDS["charuco"], *images, *nowhere], capsys
    )
    assert not (tmp_path / "camera.json").exists()


def test_inner_corners_counted_as_squares_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = board_world.BoardWorld(parse_board("chessboard:8x6:0.03"), CAMERAS["pinhole"])
    folder = tmp_path / "photos"
    folder.mkdir()
    image = world.photo(world.pose((240, 180), 0.4, (10, 10, 0)))
    cv2.imwrite(str(folder / "a.png"), image)
    line = errors_of(["--board", "chessboard:7x5:0.03", "--images", str(folder)], capsys)
    assert "they show chessboard:8x6:0.03" in line


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_parameters_lie_within_their_standard_deviations(lens: str) -> None:
    true = CAMERAS[lens]
    fit = calibrate(corner_views(true, 14, CORNER_NOISE_PX), 480, 360, lens).fit
    deviation = np.abs(fit.camera.parameters - true.parameters)[: len(fit.std)]
    assert np.all(deviation < SIGMAS * fit.std)
    assert np.all(fit.std[:2] < 0.005 * true.fx)
    assert fit.rms_px == pytest.approx(CORNER_NOISE_PX * np.sqrt(2), rel=0.1)


def test_fit_agrees_with_opencv() -> None:
    views = corner_views(CAMERAS["opencv"], 12, CORNER_NOISE_PX)
    fit = fit_camera("opencv", views, CAMERAS["opencv"])
    points = [v.xyz_board.astype(np.float32) for v in views]
    pixels = [v.xy_px.astype(np.float32) for v in views]
    rms_px, matrix, bend, _, _, std, _, _ = cv2.calibrateCameraExtended(
        points, pixels, (480, 360), None, None
    )
    # Same minimum of the same cost: noise this small never reaches the Huber limit.
    assert fit.rms_px == pytest.approx(rms_px, rel=1e-4)
    assert np.allclose(fit.camera.matrix, matrix, atol=0.02)
    assert np.allclose(fit.camera.distortion[:5], bend.ravel()[:5], atol=0.002)
    problem, poses = Problem(views), np.array(fit.cam_from_board)
    system = problem.system(fit.camera, poses, 9)
    by_corner = std_by_corner(system, problem.residuals(fit.camera, poses))
    assert np.allclose(by_corner, std.ravel()[:9], rtol=0.02)


def test_rational_lens_is_fitted_on_request() -> None:
    true = replace(CAMERAS["opencv"], distortion=(0.4, 0.1, 0.0005, -0.0003, 0.02, 0.65, 0.2, 0.03))
    views = corner_views(true, 14, 0.02)
    found = calibrate(views, 480, 360, "rational").camera
    assert any(found.distortion[5:])
    assert found.rms_px is not None and found.rms_px < 0.05


def test_auto_keeps_the_simplest_lens_that_predicts_as_well() -> None:
    result = calibrate(corner_views(CAMERAS["pinhole"], 8, CORNER_NOISE_PX), 480, 360)
    assert list(result.tried_px) == ["pinhole", "opencv", "fisheye"]
    assert result.fit.lens == "pinhole" and result.mixture is None


def test_a_photo_with_wrong_corners_is_set_aside() -> None:
    views = corner_views(CAMERAS["opencv"], 14, CORNER_NOISE_PX)
    bent = views[6].xy_px + np.random.default_rng(1).normal(0, 3.0, views[6].xy_px.shape)
    views[6] = replace(views[6], xy_px=bent)
    result = calibrate(views, 480, 360, "opencv")
    assert list(result.outliers) == ["view6"]
    assert "against a median of" in result.outliers["view6"]
    assert result.camera.rms_px is not None and result.camera.rms_px < HELD_OUT_PX
    assert result.camera.fx == pytest.approx(CAMERAS["opencv"].fx, rel=FOCAL_TOLERANCE)


def test_held_out_error_grows_where_training_error_does_not() -> None:
    """Few views and many parameters: only photos left out show the overfit."""
    result = calibrate(corner_views(CAMERAS["pinhole"], 5, 0.5, seed=3), 480, 360, "rational")
    assert result.camera.rms_px is not None
    assert result.camera.rms_px > 1.05 * result.fit.rms_px


def test_too_few_views_are_refused() -> None:
    with pytest.raises(CameraError, match="found in 4 photos, expected at least 5"):
        calibrate(corner_views(CAMERAS["pinhole"], 4, 0.1), 480, 360)


def test_boards_that_never_tilt_leave_the_focal_length_loose() -> None:
    true = CAMERAS["pinhole"]
    tilted = calibrate(corner_views(true, 8, 0.1), 480, 360, "pinhole")
    flat = calibrate(corner_views(true, 8, 0.1, tilted=False), 480, 360, "pinhole")
    assert flat.fit.std[0] > 10 * tilted.fit.std[0]
    assert tilts_deg(tilted.fit.cam_from_board).max() > 25
    views = corner_views(true, 8, 0.1, tilted=False)
    gathered = Gathered(board=parse_board(BOARDS["chessboard"]), width=480, height=360, views=views)
    warnings = " ".join(Report(gathered, flat).warnings)
    assert "always faced the camera" in warnings and "only known to" in warnings


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_board_pose_from_exact_corners(lens: str) -> None:
    camera = CAMERAS[lens]
    world = board_world.BoardWorld(
        parse_board("chessboard:8x6:0.03"), replace(camera, width=16, height=16)
    )
    world.camera = camera
    true = world.pose((300, 150), 0.5, (25, -30, 40))
    view = View(name="", xyz_board=world.board.corners_m, xy_px=world.true_corners_px(true))
    (found,) = board_poses(camera, [view])
    error = pose_error(found, true)
    assert error.translation < 1e-6 and error.rotation_deg < 1e-4  # metres: solver precision


def test_unusable_photos_say_why(charuco_photos: Path) -> None:
    board = parse_board(BOARDS["charuco"])
    image = cv2.imread(str(charuco_photos / "board0.png"), cv2.IMREAD_GRAYSCALE)
    found = BoardDetector(board).detect(image)
    assert found is not None and unusable(image, found) == ""
    few = replace(found, corner=found.corner[:5], xy_px=found.xy_px[:5])
    assert unusable(image, few).startswith("only 5 corners")
    along = np.arange(float(len(found)))
    line = replace(found, xy_px=np.stack([along * 9, along * 4], axis=1))
    assert unusable(image, line) == "the corners seen lie on one line"
    soft = cv2.GaussianBlur(image, (0, 0), 4)
    assert unusable(soft, found).startswith("blurred: edges are")
    assert mean_distance_px(found, replace(found, xy_px=found.xy_px + [3, 4])) == pytest.approx(5)
    assert mean_distance_px(few, replace(few, corner=few.corner + 100)) is None


def test_coverage_counts_cells() -> None:
    corner = np.array([[0.0, 0], [10, 10], [479, 359]])
    view = View(name="", xyz_board=np.zeros((3, 3)), xy_px=corner)
    covered = Coverage.of([view], 480, 360)
    assert covered.rows() == ["#...", "....", "...#"]
    assert covered.share == pytest.approx(2 / 12)
    assert covered.reach == pytest.approx(1.0, abs=0.01)
    assert Coverage.of([], 480, 360).share == 0
