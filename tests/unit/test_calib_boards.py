"""Boards: their text, their printed size, and corners without bias."""

from __future__ import annotations

import struct
from pathlib import Path

import board_world
import cv2
import numpy as np
import pytest

from edge_reloc.errors import ConfigError
from edge_reloc.geometry.camera import Camera
from edge_reloc_calib import detectors
from edge_reloc_calib.boards import Board, parse_board
from edge_reloc_calib.circles import centroid_shift_px
from edge_reloc_calib.corners import edge_width_px, neighbour_distance_px, refine_corners
from edge_reloc_calib.detectors import BoardDetector
from edge_reloc_calib.printing import write_board
from edge_reloc_calib.recognise import board_shown
from edge_reloc_calib.residuals import View

CHARUCO = parse_board("charuco:8x6:0.03:0.022")
CHESSBOARD = parse_board("chessboard:8x6:0.03")
PINHOLE = Camera(model="pinhole", width=480, height=360, fx=400, fy=400, cx=239.5, cy=179.5)
DISTANCE_M = 0.34  # the board fills half of the image
WHOLE_VIEWS = [
    ((239, 179), (0, 0, 0)),
    ((215, 185), (20, -25, 8)),
    ((265, 170), (-25, 10, -12)),
    ((240, 190), (10, 30, 20)),
]

# Measured 0.05 px rms with 2 grey levels of noise; OpenCV's own ChArUco corners: 0.13 px.
CORNER_RMS_PX = 0.09
# Half a pixel of mistaken convention, or a marker pulling a corner, is far above this.
CORNER_BIAS_PX = 0.02


def test_text_round_trip() -> None:
    for text in (
        "charuco:8x6:0.03:0.022:DICT_4X4_50",
        "charuco_legacy:8x6:0.03:0.022:DICT_5X5_250",
        "chessboard:10x7:0.025",
        "aprilgrid:6x6:0.088:0.3",
        "circles:8x6:0.03:0.012",
        "acircles:4x11:0.02:0.016",
    ):
        assert parse_board(text).text == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rings:8x6:0.03", "expected charuco:COLSxROWS"),
        ("aprilgrid:6x6:0.088:1.2", "expected the gap as a share"),
        ("aprilgrid:40x40:0.03:0.3", "need 1600 markers but DICT_APRILTAG_36h11 has 587"),
        ("circles:8x2:0.03", "8x2 circles, expected at least 3x3"),
        ("circles:8x6:0.03:0.04", "less than the square's 0.03 m"),
        ("charuco:8x6:0.03", "expected charuco:COLSxROWS"),
        ("chessboard:8x6:0.03:0.02", "expected charuco:COLSxROWS"),
        ("chessboard:8by6:0.03", "expected charuco:COLSxROWS"),
        ("chessboard:8x6:wide", "lengths are metres"),
        ("chessboard:8x2:0.03", "at least 3x3"),
        ("chessboard:8x6:30", "30 mm is 0.03"),
        ("chessboard:8x6:nan", "30 mm is 0.03"),
        ("charuco:8x6:0.03:0.03", "less than the square's"),
        ("charuco:8x6:0.03:0.02:DICT_9X9", "expected a name of OpenCV"),
        ("charuco:20x20:0.03:0.02:DICT_4X4_50", "need 200 markers but DICT_4X4_50 has 50"),
    ],
)
def test_malformed_boards_are_refused_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_board(text)
    assert "\n" not in str(caught.value)


def test_corners_are_numbered_as_opencv_numbers_them() -> None:
    for text in ("charuco:8x6:0.03:0.022", "charuco:5x7:0.03:0.022"):
        board = parse_board(text)
        assert np.allclose(board.corners_m, board.charuco().getChessboardCorners(), atol=1e-6)


@pytest.mark.parametrize(
    "board",
    [
        CHARUCO,
        CHESSBOARD,
        parse_board("charuco_legacy:8x6:0.03:0.022"),
        parse_board("aprilgrid:5x4:0.04:0.2"),  # whole texels of the world's drawing
        parse_board("circles:8x6:0.03"),
        parse_board("acircles:4x9:0.025"),
    ],
    ids=lambda board: board.kind,
)
def test_detected_corners_lie_on_the_true_ones(board: Board) -> None:
    world = board_world.BoardWorld(board, PINHOLE)
    errors = []
    for seed, (centre, turn) in enumerate(WHOLE_VIEWS):
        cam_from_board = world.pose(centre, DISTANCE_M, turn)
        found = BoardDetector(board).detect(world.photo(cam_from_board, seed))
        assert found is not None and len(found) >= 0.95 * len(board.corners_m)
        true_px = world.true_corners_px(cam_from_board)[found.corner]
        if not board.has_markers and np.abs(found.xy_px - true_px).max() > 5:
            true_px = true_px[::-1]  # a bare chessboard may be read upside down
        if board.radius_m:  # what is found is the centroid of the circle's picture
            view = View(name="", xyz_board=board.corners_m[found.corner], xy_px=true_px,
                        radius_m=board.radius_m)  # fmt: skip
            true_px = true_px + centroid_shift_px(PINHOLE, cam_from_board, view)
        errors.append(found.xy_px - true_px)
    error = np.concatenate(errors)
    assert np.sqrt((error**2).sum(axis=1).mean()) < CORNER_RMS_PX
    assert np.abs(error.mean(axis=0)).max() < CORNER_BIAS_PX


def test_a_covered_charuco_board_keeps_its_numbers() -> None:
    world = board_world.BoardWorld(CHARUCO, PINHOLE)
    cam_from_board = world.pose((239, 179), DISTANCE_M, (10, 20, 5))
    image = world.photo(cam_from_board)
    true_px = world.true_corners_px(cam_from_board)
    image[:, : int(np.median(true_px[:, 0]))] = 90
    found = BoardDetector(CHARUCO).detect(image)
    assert found is not None and 8 <= len(found) < len(true_px)
    assert np.abs(found.xy_px - true_px[found.corner]).max() < 1.0


def test_an_aprilgrid_that_runs_out_of_the_picture_keeps_its_numbers() -> None:
    world = board_world.BoardWorld(parse_board("aprilgrid:5x4:0.04:0.2"), PINHOLE)
    for centre in ((90, 120), (400, 250)):
        cam_from_board = world.pose(centre, 0.3, (15, -20, 10))
        found = BoardDetector(world.board).detect(world.photo(cam_from_board))
        true_px = world.true_corners_px(cam_from_board)
        assert found is not None and 8 <= len(found) < len(true_px)
        assert np.abs(found.xy_px - true_px[found.corner]).max() < 1.0


def test_corners_outside_the_picture_are_left_where_they_are() -> None:
    xy_px = np.array([[-3.0, 20.0], [20.0, 20.0], [20.0, 64.5]])
    found = refine_corners(np.zeros((64, 64), np.uint8), xy_px, 0.3)
    assert np.array_equal(found[[0, 2]], xy_px[[0, 2]])


def test_a_large_photo_is_searched_small_and_refined_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detectors, "SEARCH_SIDE_PX", 280)  # so that 480 pixels are large
    world = board_world.BoardWorld(CHESSBOARD, PINHOLE)
    cam_from_board = world.pose((250, 175), DISTANCE_M, (15, -20, 5))
    found = BoardDetector(CHESSBOARD).detect(world.photo(cam_from_board))
    assert found is not None
    true_px = world.true_corners_px(cam_from_board)
    errors = (found.xy_px - t for t in (true_px, true_px[::-1]))
    assert min(float(np.sqrt((e**2).sum(axis=1).mean())) for e in errors) < CORNER_RMS_PX


@pytest.mark.parametrize("board", [CHARUCO, CHESSBOARD])
def test_no_board_in_an_image_without_one(board: Board) -> None:
    detector = BoardDetector(board)
    noise = np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8)
    for image in (noise, np.zeros((240, 320), np.uint8), np.full((240, 320), 255, np.uint8)):
        assert detector.detect(image) is None


def test_edge_width_follows_the_blur() -> None:
    world = board_world.BoardWorld(CHESSBOARD, PINHOLE, noise_grey=1.0)
    cam_from_board = world.pose((239, 179), DISTANCE_M, (5, 10, 0))
    image, true_px = world.photo(cam_from_board), world.true_corners_px(cam_from_board)
    sharp = edge_width_px(image, true_px)
    assert 1 <= sharp < 3
    for sigma in (2.0, 3.0):
        blurred = edge_width_px(cv2.GaussianBlur(image, (0, 0), sigma), true_px)
        expected = np.sqrt(2 * np.pi) * sigma  # height over slope of a blurred step
        assert blurred == pytest.approx(expected, rel=0.3)


def test_neighbour_distance() -> None:
    xy = np.array([[0.0, 0], [3, 0], [3, 4], [20, 4]])
    assert neighbour_distance_px(xy).tolist() == [3, 3, 4, 17]


@pytest.mark.parametrize(
    ("shown", "named"),
    [
        ("charuco:7x5:0.03:0.022:DICT_4X4_50", "charuco:8x6:0.03:0.022"),
        ("aprilgrid:6x4:0.03:0.3", "aprilgrid:5x5:0.03:0.3"),
    ],
)
def test_another_size_of_a_board_with_markers_is_told(shown: str, named: str) -> None:
    board = parse_board(shown)
    world = board_world.BoardWorld(board, PINHOLE)
    images = [world.photo(world.pose(centre, DISTANCE_M, turn)) for centre, turn in WHOLE_VIEWS[:2]]
    asked = parse_board(named)
    assert all(BoardDetector(asked).detect(image) is None for image in images)
    found = board_shown(images, asked)
    assert found is not None and (found.cols, found.rows, found.kind) == (
        board.cols,
        board.rows,
        board.kind,
    )


def test_an_aprilgrid_is_drawn_as_kalibr_draws_it() -> None:
    """Tag 0, whose code begins with d5d6, at the bottom left, two bits of black around it."""
    image = parse_board("aprilgrid:2x2:0.04:0.3").draw(130)
    bits = image[:-30][-100:, 30:130].reshape(10, 10, 10, 10).mean(axis=(1, 3)) > 127
    assert not bits[:2].any() and not bits[:, -2:].any()
    code = int("".join(str(int(bit)) for bit in bits[2:8, 2:8].ravel()), 2)
    assert code == 0xD5D628584
    assert image[-30:, :30].max() == 0  # the square at its corner


@pytest.mark.parametrize(
    "board",
    [CHARUCO, CHESSBOARD, parse_board("aprilgrid:4x3:0.03:0.3"), parse_board("acircles:4x9:0.02")],
    ids=lambda board: board.kind,
)
def test_printed_board_has_its_true_size_and_is_found(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "board.png"
    line = write_board(path, board, dpi=150)
    assert "fits A4" in line
    data = path.read_bytes()
    at = data.index(b"pHYs")
    across, down, unit = struct.unpack(">IIB", data[at + 4 : at + 13])
    assert (across, unit) == (down, 1)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    found = BoardDetector(board).detect(image)
    assert found is not None and len(found) == len(board.corners_m)
    apart_m = float(np.median(neighbour_distance_px(found.xy_px))) / across
    true_m = float(np.median(neighbour_distance_px(board.corners_m[found.corner, :2])))
    assert apart_m == pytest.approx(true_m, rel=2e-3)


def test_paper_is_named(tmp_path: Path) -> None:
    line = write_board(tmp_path / "board.png", parse_board("chessboard:12x9:0.03"), dpi=60)
    assert "390 x 300 mm" in line and "larger" not in line and "fits A2" in line
