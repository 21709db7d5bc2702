"""Wrong cases on purpose: how they are made, how answers are judged, what methods answer."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.bundle.reader import MapBundle, open_bundle
from edge_reloc.errors import ConfigError
from edge_reloc.evaluate import main
from edge_reloc.evaluation import wrong_images as images
from edge_reloc.evaluation.adversarial import draw, score_wrong_cases
from edge_reloc.evaluation.album import PhotoAlbum
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.evaluation.stanford import Outcome, Stanford, together, upper_bound
from edge_reloc.evaluation.verdicts import judge, tolerance_of
from edge_reloc.evaluation.wrong_cases import CASES, Expected, Need, chosen_cases
from edge_reloc.evaluation.wrong_frames import HALF_TURN, Shot, camera_of
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.methods import Settings
from edge_reloc.running.demo import DEMO
from edge_reloc.structs import PoseEstimate, Status
from tests.courtyard import courtyard

ROOT = Path(__file__).parents[2]
BY_NAME = {case.name: case for case in CASES}
PIXEL = 1e-6  # px, rounding
TOLERANCE = tolerance_of("5cm/1deg", True, 7.0, "map")


@pytest.fixture(scope="module")
def bundle() -> MapBundle:
    return open_bundle(DEMO / "map")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return courtyard(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def album(bundle: MapBundle, place: Path) -> PhotoAlbum:
    return PhotoAlbum(read_dataset(place), bundle.manifest, foreign=DEMO / "frames")


def made(album: PhotoAlbum, name: str, seed: int = 0, number: int = 0) -> list[Shot]:
    """The frames of one try."""
    case = BY_NAME[name]
    *_, (_, index, rng) = draw(case, album.size, number + 1, seed)
    return [*case.make(album, index, rng)]


def photo_of(album: PhotoAlbum, shot: Shot) -> Shot:
    """The photo that a frame was made of."""
    return next(s for s in map(album.shot, range(album.size)) if s.frame.name == shot.frame.name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_is_what_it_says(album: PhotoAlbum, case: object) -> None:
    name = case.name  # type: ignore[attr-defined]
    shots = made(album, name)
    if BY_NAME[name].expected is Expected.NEVER:
        assert [shot.right for shot in shots] == [()] * len(shots)
    else:
        assert any(shot.right for shot in shots)
    for shot, again in zip(shots, made(album, name), strict=True):
        photo = photo_of(album, shot).frame
        assert shot.frame.image.dtype == np.uint8
        assert shot.frame.image.shape == photo.image.shape
        np.testing.assert_array_equal(shot.frame.image, again.frame.image)
        assert shot.frame.camera == again.frame.camera
    if Need.TRACKING not in BY_NAME[name].needs and name != "unaltered":
        (shot,) = shots
        same_pixels = np.array_equal(shot.frame.image, photo_of(album, shot).frame.image)
        same_camera = shot.frame.camera == photo_of(album, shot).frame.camera
        assert not (same_pixels and same_camera)


def test_names_are_told_apart_and_documented() -> None:
    assert len(BY_NAME) == len(CASES)
    page = (
        (ROOT / "docs" / "integrity.md").read_text().split("| case | what is done | expected |")[1]
    )
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(case.name, case.about, case.expected.value) for case in CASES]


def test_cases_are_chosen_by_the_beginnings_of_their_names() -> None:
    assert chosen_cases(None) == CASES
    assert [case.name for case in chosen_cases("photo_t,mirrored")] == [
        *("mirrored", "photo_tilted", "mirrored_in_between")
    ]
    for wrong in ("mirored", "focal,", ""):
        with pytest.raises(ConfigError, match=rf"cases '{wrong}': found '\w*', expected one of"):
            chosen_cases(wrong)


def test_tries_are_drawn_by_the_seed() -> None:
    case = BY_NAME["mirrored"]
    photos = [index for _, index, _ in draw(case, 7, 14, 3)]
    assert sorted(photos[:7]) == sorted(photos[7:]) == list(range(7))
    assert photos == [index for _, index, _ in draw(case, 7, 14, 3)]
    assert photos != [index for _, index, _ in draw(case, 7, 14, 4)]
    first, second = (rng.integers(1 << 30) for _, _, rng in draw(case, 7, 2, 3))
    assert first != second


def test_a_camera_that_hangs_sees_the_turned_pixels(album: PhotoAlbum) -> None:
    (shot,) = made(album, "upside_down")
    photo = photo_of(album, shot)
    camera, turned = camera_of(photo), camera_of(shot)
    assert any(camera.distortion[2:4])  # else this proves little
    points = np.random.default_rng(0).uniform([-2, -1, 3], [2, 1, 9], (50, 3))
    expected = np.array([camera.width - 1, camera.height - 1]) - camera.project(points)
    np.testing.assert_allclose(turned.project(points @ HALF_TURN[:3, :3]), expected, atol=PIXEL)
    np.testing.assert_array_equal(shot.right[0], HALF_TURN @ photo.right[0])
    np.testing.assert_array_equal(shot.frame.image[::-1, ::-1], photo.frame.image)


def test_no_block_stays_and_none_is_lost() -> None:
    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(8, 0).repeat(8, 1)
    shuffled = images.shuffled_blocks(numbers, np.random.default_rng(0))
    assert (shuffled != numbers).all()
    assert sorted(np.unique(shuffled)) == list(range(12))


def test_a_pasted_photo_lies_whole_on_the_other() -> None:
    rng = np.random.default_rng(0)
    onto, image = np.zeros((48, 64), np.uint8), np.full((48, 64), 200, np.uint8)
    both = images.pasted(image, onto, 0.5, rng)
    rows, columns = np.nonzero(both)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)) == (24, 32, 24 * 32)
    seen = images.tilted(image, onto, rng)
    assert 0.1 < np.count_nonzero(seen) / seen.size < 1.0


def test_middle_row_of_a_sheared_frame_stays() -> None:
    image = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    sheared = images.sheared_rows(image, np.random.default_rng(0))
    np.testing.assert_array_equal(sheared[24], image[24])
    assert sheared[0, 10] == 10 + 3 and sheared[47, 10] == 10 - 3  # 0.12 px a row


def test_two_photos_have_two_right_poses(album: PhotoAlbum) -> None:
    (shot,) = made(album, "left_and_right")
    photo = photo_of(album, shot)
    assert len(shot.right) == 2 and not np.allclose(*shot.right)
    other = next(
        s for s in map(album.shot, range(album.size)) if np.array_equal(s.right[0], shot.right[1])
    )
    np.testing.assert_array_equal(shot.frame.image[:, :320], photo.frame.image[:, :320])
    np.testing.assert_array_equal(shot.frame.image[:, 320:], other.frame.image[:, 320:])


def test_a_calibration_is_told_wrong_and_the_photo_left_alone(album: PhotoAlbum) -> None:
    (shot,) = made(album, "focal_x0.8")
    photo = photo_of(album, shot)
    assert camera_of(shot).fx == pytest.approx(0.8 * camera_of(photo).fx)
    assert shot.frame.image is photo.frame.image and shot.right == photo.right
    (shot,) = made(album, "principal_point_25")
    there, here = camera_of(shot), camera_of(photo_of(album, shot))
    assert np.hypot(there.cx - here.cx, there.cy - here.cy) == pytest.approx(0.25 * 640)


def answer(cam_from_world: np.ndarray | None, sigma: float | None = None) -> PoseEstimate:
    return PoseEstimate(
        t_ns=0,
        status=Status.NO_POSE if cam_from_world is None else Status.OK,
        cam_from_world=cam_from_world,
        covariance=None if sigma is None else np.eye(6) * sigma**2,
    )


def test_poses_are_judged_by_the_nearest_that_is_right() -> None:
    here, there = np.eye(4), compose(np.eye(3), [0.0, 0.0, -3.0])
    near = judge(answer(compose(np.eye(3), [0.049, 0.0, 0.0])), [there, here], TOLERANCE)
    assert near.right and not near.wrong and near.error == pytest.approx(0.049)
    far = judge(answer(compose(np.eye(3), [0.06, 0.0, 0.0]), 0.01), [there, here], TOLERANCE)
    assert far.wrong and far.sigmas == pytest.approx(6.0)
    turned = judge(answer(compose(so3_exp([0.0, np.radians(1.1), 0.0]), np.zeros(3))), [here],
                   TOLERANCE)  # fmt: skip
    assert turned.wrong and turned.error_deg == pytest.approx(1.1)


def test_without_a_right_pose_any_is_wrong_and_none_is_not() -> None:
    any_pose = judge(answer(np.eye(4), 0.01), [], TOLERANCE)
    assert any_pose.wrong and any_pose.error is None and any_pose.sigmas is None
    none = judge(answer(None), [np.eye(4)], TOLERANCE)
    assert not none.ok and not none.right and not none.wrong


def test_outcomes_are_those_of_the_stanford_diagram() -> None:
    levels = {"hpl_m": 0.2, "vpl_m": 0.2, "ypl_deg": 1.0}
    down = np.array([0.0, 1.0, 0.0])

    def outcome(moved: float, *, right: bool = True, **more: object) -> Outcome:
        estimate = replace(answer(compose(np.eye(3), [moved, 0.0, 0.0]), 0.01), **levels)
        estimate = replace(estimate, **more)  # type: ignore[arg-type]
        poses = [np.eye(4)] if right else []
        return judge(estimate, poses, TOLERANCE, down=down, alert_limit_m=0.5).outcome

    assert outcome(0.19) is Outcome.NOMINAL
    assert outcome(0.21) is Outcome.MISLEADING
    assert outcome(0.51) is Outcome.HAZARDOUS
    assert outcome(0.0, right=False) is Outcome.HAZARDOUS
    assert outcome(9.0, status=Status.DEGRADED) is Outcome.UNAVAILABLE
    assert outcome(9.0, hpl_m=None) is Outcome.UNLEVELLED
    assert outcome(9.0, cam_from_world=None) is Outcome.NO_POSE
    degraded = replace(answer(np.eye(4), 0.01), status=Status.DEGRADED)
    assert not judge(degraded, [np.eye(4)], TOLERANCE).ok


def test_a_photo_in_a_case_is_one_try() -> None:
    one = Stanford.of([("mirrored", 0, Outcome.MISLEADING)] * 5)
    assert one.frames == {Outcome.MISLEADING: 5}
    assert (one.independent, one.misleading) == (1, 1)
    other = Stanford.of(
        [("dark", 0, Outcome.NOMINAL), ("dark", 1, Outcome.HAZARDOUS), ("a", 0, Outcome.UNLEVELLED)]
    )
    both = together([one, other])
    assert (both.independent, both.misleading) == (3, 2)
    assert both.frames[Outcome.MISLEADING] == 5 and both.frames[Outcome.NOMINAL] == 1


def test_few_events_leave_room_for_more() -> None:
    assert upper_bound(0, 3000) == pytest.approx(1 - 0.05 ** (1 / 3000))
    assert upper_bound(3, 100) == pytest.approx(0.0757, abs=1e-4)  # tables of Clopper, Pearson
    assert upper_bound(400, 3000) == pytest.approx(0.1440, abs=1e-3)
    assert upper_bound(2, 2) == 1.0


def test_tolerance_follows_the_map_and_the_option() -> None:
    assert tolerance_of(None, True, 7.0, "map").translation == pytest.approx(0.05)
    relative = tolerance_of(None, False, 7.0, "map")
    assert (relative.translation, relative.rotation_deg) == (pytest.approx(0.14), 1.0)
    for wrong in ("5cm/1deg,10cm/5deg", "0cm/1deg", "5cm/0deg"):
        with pytest.raises(ConfigError, match=r"expected one, above 0, .* such as 5cm/1deg"):
            tolerance_of(wrong, True, 7.0, "map")
    with pytest.raises(ConfigError, match="not metric"):
        tolerance_of("5cm/1deg", False, 7.0, "map")


def test_the_demo_is_right_where_it_must_be_and_silent_where_nothing_is(
    bundle: MapBundle, album: PhotoAlbum
) -> None:
    right = ("unaltered", "covered_left", "covered_top", "covered_bottom")
    silent = ("fine_noise", "soft_noise", "noise_blocks", "plain_grey", "tiled_piece", "blur_8")
    score = score_wrong_cases(
        bundle,
        album,
        parse_method("cells+2", Settings()),
        TOLERANCE,
        tries=2,
        seed=1,
        cases=[BY_NAME[name] for name in right + silent],
    )
    cases = {case.case.name: case for case in score.cases}
    assert {name: cases[name].right for name in right} == dict.fromkeys(right, 2)
    assert {name: cases[name].ok for name in silent} == dict.fromkeys(silent, 0)
    assert (score.tries, score.wrong) == (20, 0)


def test_a_wrong_focal_length_is_counted_with_its_error_and_its_levels(
    bundle: MapBundle, album: PhotoAlbum
) -> None:
    loose = Settings(
        min_coverage=0.0,
        min_inlier_ratio=0.0,
        min_spread=1,
        calibration_check=False,
        min_p_right=0.0,
    )
    score = score_wrong_cases(
        bundle,
        album,
        parse_method("exhaustive", loose),
        TOLERANCE,
        tries=2,
        seed=0,
        cases=[BY_NAME["focal_x0.8"]],
    )
    (case,) = score.to_json()["cases"]
    assert (case["tries"], case["ok"], case["right"]) == (2, 2, 0)
    assert [wrong["error"] > 0.05 for wrong in case["verdicts"]] == [True, True]
    assert all(wrong["sigmas"] > 3 for wrong in case["verdicts"])
    for wrong in case["verdicts"]:  # nobody asked whether the file is right
        assert any(e > level for e, level in zip(wrong["errors"], wrong["levels"], strict=True))
    assert (case["misleading"], case["hazardous"], case["wrong"]) == (2, 0, 2)
    assert score.to_json()["stanford"]["independent misleading"] == 2


def test_with_tracking_sequences_are_shown_and_each_of_their_frames_is_judged(
    bundle: MapBundle, album: PhotoAlbum
) -> None:
    names = ("frozen", "blacked_out", "plain_grey")
    tracking = parse_method("exhaustive+2+t", Settings())
    cases = [BY_NAME[name] for name in names]
    score = score_wrong_cases(
        bundle, album, tracking, TOLERANCE, tries=1, seed=0, cases=cases
    )  # fmt: skip
    counts = {case.case.name: (len(case.verdicts), case.ok, case.right) for case in score.cases}
    assert counts == {"frozen": (5, 5, 5), "blacked_out": (5, 3, 3), "plain_grey": (1, 0, 0)}
    plain = parse_method("exhaustive", Settings())
    score = score_wrong_cases(bundle, album, plain, TOLERANCE, tries=1, seed=0, cases=cases)
    assert list(score.skipped) == ["frozen", "blacked_out"]
    assert [case.case.name for case in score.cases] == ["plain_grey"]


def test_cases_that_cannot_be_made_are_named(bundle: MapBundle, place: Path) -> None:
    alone = PhotoAlbum(read_dataset(place, every=100), bundle.manifest)
    assert alone.size == 1
    assert alone.lacks == {Need.ANOTHER, Need.ONE_CAMERA, Need.ELSEWHERE}
    dataset = read_dataset(place)
    assert PhotoAlbum(dataset, bundle.manifest).lacks == {Need.ELSEWHERE}
    zoomed = replace(dataset.queries[0].camera, fx=900.0)
    for of_two, lacks in ((1, {Need.ANOTHER, Need.ONE_CAMERA}), (2, {Need.ONE_CAMERA})):
        queries = tuple(
            replace(query, camera=zoomed) if number < of_two else query
            for number, query in enumerate(dataset.queries)
        )
        album = PhotoAlbum(replace(dataset, queries=queries), bundle.manifest, DEMO / "frames")
        assert album.lacks == lacks
    drawn = {album.another(0, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {1}  # the only other one by its camera


def test_the_program_prints_a_table_and_a_summary(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "wrong.json"
    command = ["--adversarial", "--map", str(DEMO / "map"), "--data", str(place), "--tries", "1"]
    command += ["--methods", "exhaustive", "--output", str(output)]
    assert main(command) == 0
    table = capsys.readouterr().out
    values = json.loads(output.read_text())
    (score,) = values["adversarial"]
    shown = [line.split()[0] for line in table.splitlines()[2:] if line.startswith(tuple(BY_NAME))]
    assert shown == [case["case"] for case in score["cases"]]
    assert "left out elsewhere: needs photos of other places (--foreign FOLDER)" in table
    assert sum(case["tries"] for case in score["cases"]) == values["tries"] == len(shown)
    wrong = sum(case["wrong"] for case in score["cases"])
    assert wrong == values["wrong"]
    counts = values["stanford"]["exhaustive"]
    assert counts["independent"] == sum(counts[o.value] for o in Outcome) == values["tries"]
    assert counts["nominal"] == sum(case["nominal"] for case in score["cases"]) > 5
    assert f"of {len(shown)} independent tries" in table.splitlines()[-2]
    last = f"wrong cases: {values['tries']} tries, {wrong} poses called OK that are wrong"
    assert table.splitlines()[-1] == last


def test_wrong_cases_have_no_curves(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--adversarial", "--map", "m", "--data", str(place), "--plot", "a.png"])
    refusal = "--plot, --stanford, --pit and --curves do not go with --adversarial"
    assert refusal in capsys.readouterr().err


def test_other_places_and_cases_must_be_there(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--adversarial", "--map", str(DEMO / "map"), "--data", str(place)]
    assert main([*command, "--foreign", str(tmp_path)]) == 1
    assert "no photos in this folder" in capsys.readouterr().err
    assert main([*command, "--cases", "focal,mirored"]) == 1
    assert "cases 'focal,mirored': found 'mirored', expected" in capsys.readouterr().err
