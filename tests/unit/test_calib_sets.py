"""Sets of photos that cannot make a camera file, each refused with what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import board_world
import cv2
import numpy as np
import pytest
from test_calib import CAMERAS, CORNER_NOISE_PX, corner_views, errors_of

from edge_reloc.errors import CameraError
from edge_reloc_calib import calibrate as program
from edge_reloc_calib.arguments import DEFAULT_BOARD
from edge_reloc_calib.boards import parse_board
from edge_reloc_calib.coverage import Coverage
from edge_reloc_calib.detectors import BoardDetector, Detection
from edge_reloc_calib.fit import Fit, fit_camera
from edge_reloc_calib.guide import Guide, leaning
from edge_reloc_calib.intrinsics import Calibration, calibrate
from edge_reloc_calib.mixture import two_cameras
from edge_reloc_calib.recognise import chessboard_size
from edge_reloc_calib.requirements import check_calibration
from edge_reloc_calib.residuals import View

TRUE = CAMERAS["pinhole"]
START = replace(TRUE, fx=380.0, fy=383.0, cx=243.0, cy=176.0)  # numbers that can move
SIZE = (TRUE.width, TRUE.height)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos of the board that the program looks for without --board."""
    folder = tmp_path_factory.mktemp("sets") / "photos"
    folder.mkdir()
    world = board_world.BoardWorld(parse_board(DEFAULT_BOARD), TRUE)
    for i, cam_from_board in enumerate(world.poses(6, 0.42, seed=4)):
        cv2.imwrite(str(folder / f"{i}.png"), world.photo(cam_from_board, i))
    return folder


def refusal(views: list[View], lens: str = "pinhole") -> str:
    with pytest.raises(CameraError) as caught:
        check_calibration(calibrate(views, *SIZE, lens))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_printed_board_is_the_one_that_is_looked_for(photos: Path, tmp_path: Path) -> None:
    printed = tmp_path / "board.png"
    assert program.main(["--print-board", str(printed)]) == 0
    board = parse_board(DEFAULT_BOARD)
    found = BoardDetector(board).detect(cv2.imread(str(printed), cv2.IMREAD_GRAYSCALE))
    assert found is not None and len(found) == len(board.corners_m)
    arguments = ["--images", str(photos), "--model", "pinhole"]
    assert program.main([*arguments, "--output", str(tmp_path / "camera.json")]) == 0


def test_copies_and_near_copies_count_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    image = cv2.imread(str(photos / "0.png"), cv2.IMREAD_GRAYSCALE)
    for i in range(5):
        cv2.imwrite(str(folder / f"copy{i}.png"), image)
    shifted = np.roll(image, (2, 1), (0, 1))
    cv2.imwrite(str(folder / "near.png"), shifted)
    line = errors_of(["--images", str(folder)], capsys)
    assert "found in 1 photos, 5 more show it at the same place, expected at least 5" in line


def test_a_part_of_the_board_that_is_photographed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = board_world.BoardWorld(parse_board("chessboard:9x6:0.03"), TRUE)
    image = world.photo(world.pose((240, 180), 0.42, (15, 10, 5)))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert chessboard_size(image) == (9, 6)
    arguments = ["--board", "chessboard:8x5:0.03", "--images", str(tmp_path / "a.png")]
    assert "they show chessboard:9x6:0.03: pass that" in errors_of(arguments, capsys)
    # OpenCV's search may also settle for a part of it.
    part = Detection(np.arange(28), world.true_corners_px(world.pose((240, 180), 0.42, (0, 0, 0))))
    part = Detection(part.corner, part.xy_px[:28])
    monkeypatch.setattr("edge_reloc_calib.gather.BoardDetector.detect", lambda *_: part)
    monkeypatch.setattr("edge_reloc_calib.gather.unusable", lambda *_: "")
    cv2.imwrite(str(tmp_path / "b.png"), image)
    line = errors_of([*arguments[:-1], str(tmp_path)], capsys)
    assert "b.png shows chessboard:9x6:0.03, of which chessboard:8x5:0.03 is a part" in line


@pytest.mark.parametrize(("factor", "certain"), [(1.06, False), (1.3, True)])
def test_two_cameras_in_one_folder_are_told_apart(factor: float, certain: bool) -> None:
    zoomed = replace(TRUE, fx=TRUE.fx * factor, fy=TRUE.fy * factor)
    others = [replace(v, name=f"other{v.name}") for v in corner_views(zoomed, 5, 0.1, seed=2)]
    views = [*corner_views(TRUE, 8, 0.1, seed=1), *others]
    mixture = two_cameras(views, fit_camera("pinhole", views, START))
    assert mixture is not None and mixture.certain is certain
    assert sorted(mixture.second) == sorted(view.name for view in others)
    assert "8 fit fx 38" in mixture.text()
    if certain:
        line = refusal(views)
        assert "two cameras, or one that was zoomed" in line and "otherview0" in line


def test_boards_that_always_face_the_camera_are_refused() -> None:
    line = refusal(corner_views(TRUE, 6, CORNER_NOISE_PX, tilted=False))
    assert "always faced the camera (4 degrees at most): tilt it 20 to 40 degrees" in line


def test_boards_in_one_corner_are_refused() -> None:
    shrunk = [
        replace(view, xy_px=view.xy_px * 0.25) for view in corner_views(TRUE, 6, CORNER_NOISE_PX)
    ]
    line = refusal(shrunk)
    assert "of 12 parts of the image only: bring it to the whole right half" in line


def test_corners_that_no_lens_explains_are_refused() -> None:
    line = refusal(corner_views(TRUE, 6, 8.0))
    assert "no lens of ours explains the photos (held-out error" in line


def test_a_focal_length_that_stays_open_is_refused() -> None:
    views = corner_views(TRUE, 6, CORNER_NOISE_PX)
    result = calibrate(views, *SIZE, "pinhole")
    loose: Fit = replace(result.fit, std=result.fit.std * [200, 1, 1, 1])
    poor: Calibration = replace(result, fit=loose)
    with pytest.raises(CameraError, match=r"the focal length is known to .*% only: tilt the board"):
        check_calibration(poor)


def test_missing_parts_of_the_image_are_named() -> None:
    def at(*xy: tuple[float, float]) -> list[str]:
        pixels = np.array(xy)
        view = View(name="", xyz_board=np.zeros((len(xy), 3)), xy_px=pixels)
        return Coverage.of([view], 400, 300).missing()

    left = [(x, y) for x in (50.0, 150.0) for y in (50.0, 150.0, 250.0)]
    assert at(*left) == ["the whole right half"]
    everywhere = [(x + dx, y) for x, y in left for dx in (0.0, 200.0)]
    assert at(*everywhere) == []
    assert at(*(p for p in everywhere if p != (350.0, 250.0))) == ["bottom right"]
    assert at(*(p for p in everywhere if p[1] > 100)) == ["the whole top"]
    assert Coverage.of([], 400, 300).missing() == ["everywhere"]


@pytest.mark.parametrize(
    ("turn_deg", "nearer"), [((0, 30, 0), "right"), ((0, -30, 0), "left"), ((30, 0, 0), "top"),
                             ((-30, 0, 0), "bottom"), ((3, -3, 40), None)]
)  # fmt: skip
def test_the_edge_that_leans_to_the_camera_is_named(
    turn_deg: tuple[float, float, float], nearer: str | None
) -> None:
    world = board_world.BoardWorld(
        parse_board("chessboard:8x6:0.03"), replace(TRUE, width=16, height=16)
    )
    world.camera = TRUE
    pose = world.pose((240, 180), 0.5, turn_deg)
    depth = (world.board.corners_m @ pose[:3, :3].T + pose[:3, 3])[:, 2]
    pixels = world.true_corners_px(pose)
    assert leaning(pose) == ({nearer} if nearer else set())
    if nearer:  # by what nearer means: the depth at that edge of the picture
        sign = {"left": -1, "right": 1, "top": -1, "bottom": 1}[nearer]
        along = sign * pixels[:, 0 if nearer in ("left", "right") else 1]
        assert depth[along.argmax()] < depth[along.argmin()]


def test_the_guide_asks_until_nothing_is_missing() -> None:
    guide = Guide(*SIZE)
    first = guide.missing()
    assert first[0] == "bring the board to everywhere"
    assert "tilt it, left edge nearer" in first and any("nearer, until" in w for w in first)
    views = corner_views(TRUE, 40, 0.1)
    wanted = []
    for view in views:
        guide.add(view)
        wanted.append(len(guide.missing()))
    assert wanted == sorted(wanted, reverse=True)
    assert guide.missing() == ["nearer, until it fills 25% of the picture"]
    near = views[0].xy_px - views[0].xy_px.mean(axis=0)
    guide.add(replace(views[0], xy_px=2.4 * near + [240, 180]))
    assert guide.missing() == [] and "nothing is missing" in guide.text()
    drawn = guide.draw(np.full((360, 480), 128, np.uint8))
    assert drawn.shape == (360, 480, 3)
    empty = Guide(*SIZE).draw(np.full((360, 480), 128, np.uint8))
    assert empty[300, 100, 2] > empty[300, 100, 1]  # red where no corner was seen
    assert drawn[350, 5, 1] > drawn[350, 5, 2]  # green where some were


def test_standard_deviations_hold_when_photos_err_each_in_its_own_way() -> None:
    """A board that bends anew in each photo: corners of one photo err together."""
    z = []
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        views = []
        for view in corner_views(START, 12, 0.05, seed):
            centred = view.xyz_board[:, :2] / view.xyz_board[:, :2].max() - 0.5
            bend = 0.4 * rng.normal(0, 1, (2, 3)) @ [
                centred[:, 0] ** 2, centred[:, 1] ** 2, centred[:, 0] * centred[:, 1]
            ]  # fmt: skip
            views.append(replace(view, xy_px=view.xy_px + bend.T))
        fit = fit_camera("pinhole", views, START)
        z.append((fit.camera.parameters - START.parameters) / fit.std)
    assert 0.6 < float(np.sqrt(np.mean(np.square(z)))) < 1.5  # measured: see the benchmark
