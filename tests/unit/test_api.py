"""The public API: what it promises, and what it says to somebody who errs."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_reloc
from edge_reloc.command_line.arguments import add_settings_arguments, default_map, settings_of
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.methods import METHODS
from edge_reloc.reference.truth import read_truth
from edge_reloc.running.demo import DEMO
from edge_reloc.sources.photo import read_photo
from tests.golden import api

PHOTO, ANOTHER = DEMO / "frames" / "frame_000.jpg", DEMO / "frames" / "frame_040.jpg"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
WRONG_M, WRONG_DEG = 0.05, 0.5  # errors of the demo stay below 2 cm and 0.2 degrees


@pytest.fixture(scope="module")
def localizer() -> Iterator[edge_reloc.Localizer]:
    with edge_reloc.open(DEMO / "map", DEMO / "camera.json", threads=1) as localizer:
        yield localizer


def test_the_api_is_as_it_was() -> None:
    changed = "\n".join(api.differences())
    assert not changed, (
        f"the public API changed:\n{changed}\n"
        f"write it into CHANGELOG.md, then python tests/golden/api.py --write"
    )


def test_the_reference_holds_what_is_public_and_no_more() -> None:
    written = re.findall(r"^::: edge_reloc\.(\w+)$", PAGE.read_text(), re.MULTILINE)
    assert sorted(written) == sorted(edge_reloc.__all__)


@pytest.mark.parametrize("code", ["", "dir(edge_reloc)", "edge_reloc.EdgeRelocError"])
def test_importing_loads_nothing(code: str) -> None:
    heavy = "{'numpy', 'cv2'} & set(sys.modules)"
    code = f"import edge_reloc, sys; {code or 'pass'}; assert not {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_shows_every_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import edge_reloc; help(edge_reloc)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PAGER": "cat"},
    )
    shown = done.stdout.replace(f"VERSION\n    {edge_reloc.__version__}", "__version__")
    assert not [name for name in edge_reloc.__all__ if name not in shown]
    assert set(dir(edge_reloc)) == set(edge_reloc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'opn'"):
        _ = edge_reloc.opn  # type: ignore[attr-defined]


def test_a_photo_is_localised_in_five_lines() -> None:
    with edge_reloc.open(DEMO / "map") as localizer:
        result = localizer.localize(PHOTO)
    assert result.ok and result.cam_from_world is not None and result.covariance is not None
    error = pose_error(result.cam_from_world, read_truth(DEMO / "truth")[PHOTO.name])
    assert error.translation < WRONG_M and error.rotation_deg < WRONG_DEG
    assert result.estimate.name == str(PHOTO)


def test_path_array_and_frame_give_the_same_pose(localizer: edge_reloc.Localizer) -> None:
    """A frame without a camera is of the one that the localiser was opened for."""
    grey = read_photo(PHOTO)
    frame = edge_reloc.Frame(image=grey, t_ns=17, index=3)
    results = [localizer.localize(image) for image in (PHOTO, str(PHOTO), grey, frame)]
    assert results[3].estimate.t_ns == 17 and results[3].estimate.index == 3
    truth = read_truth(DEMO / "truth")[PHOTO.name]
    for result in results:
        assert result.cam_from_world is not None
        assert pose_error(result.cam_from_world, truth).translation < WRONG_M


@pytest.mark.parametrize(
    "image",
    [np.zeros((480, 640)), np.zeros((480, 640, 4), np.uint8), np.zeros((0, 640), np.uint8)],
    ids=["float", "four channels", "empty"],
)
def test_an_array_that_is_no_image_is_refused(
    localizer: edge_reloc.Localizer, image: np.ndarray[Any, Any]
) -> None:
    for given in (image, edge_reloc.Frame(image=image, t_ns=0)):
        with pytest.raises(edge_reloc.SourceError, match=r"expected uint8 \(H,W\) grey"):
            localizer.localize(given)


def test_a_photo_that_is_not_there_is_refused(localizer: edge_reloc.Localizer) -> None:
    with pytest.raises(edge_reloc.SourceError, match=r"nowhere\.jpg"):
        localizer.localize("nowhere.jpg")


def test_views_are_read_only_and_end_with_the_next_frame(localizer: edge_reloc.Localizer) -> None:
    result = localizer.localize(PHOTO)
    inlier, kept = result.estimate.inlier_index, result.matches.xy_px.copy()
    assert inlier is not None and len(inlier) == result.inliers
    assert result.candidates.n == result.estimate.candidates == len(result.candidates.point_id)
    for array in (result.features.xy_px, result.matches.xyz_world, result.candidates.point_id):
        assert len(array)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    pose, covariance = np.copy(result.cam_from_world), np.copy(result.covariance)
    localizer.localize(ANOTHER)
    for view in ("features", "candidates", "matches", "keypoint_labels"):
        with pytest.raises(edge_reloc.StaleViewError, match="copy what you need"):
            getattr(result, view)
    assert len(kept) == result.estimate.matches
    assert np.array_equal(pose, result.cam_from_world)
    assert np.array_equal(covariance, result.covariance)


def test_a_frame_without_a_pose_says_why(localizer: edge_reloc.Localizer) -> None:
    result = localizer.localize(np.zeros((480, 640), np.uint8))
    assert not result.ok and result.status is edge_reloc.Status.NO_FEATURES
    assert result.cam_from_world is None and result.covariance is None
    assert result.reason and "dark, blurred or blank" in result.reason
    assert "_work" not in repr(result)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"second_pas": True}, "unknown setting 'second_pas'; did you mean 'second_pass'?"),
        ({"in_flight": 3}, "in_flight: found 3, expected 1 or 2"),
        ({"candidates": 2.5}, "candidates: found 2.5, expected a whole number"),
        ({"max_ratio": 2.0}, "max_ratio: found 2.0, expected above 0, at most 1"),
        ({"method": "landmark"}, "method: found 'landmark', expected one of"),
        ({"method": "scene_coordinates", "tracking": True}, "has no tracking"),
    ],
)
def test_a_wrong_setting_is_one_line(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(edge_reloc.ConfigError, match=re.escape(expected)) as caught:
        edge_reloc.open(DEMO / "map", **values)
    assert "\n" not in str(caught.value)


def test_keywords_go_before_settings() -> None:
    settings = edge_reloc.Settings(method="exhaustive", min_inliers=30)
    with edge_reloc.open(DEMO / "map", settings=settings, min_inliers=20) as localizer:
        assert localizer.settings == replace(settings, min_inliers=20)


def test_a_budget_is_refused_or_fitted(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(edge_reloc.ConfigError, match=r"MiB are planned \(libraries"):
        edge_reloc.open(DEMO / "map", budget_bytes=1 << 20)
    with pytest.raises(edge_reloc.ConfigError, match="no limit can be lowered that far"):
        edge_reloc.open(DEMO / "map", budget_bytes=1 << 20, fit=True)
    with edge_reloc.open(DEMO / "map", budget_bytes=1 << 40, fit=True):
        assert not caplog.records


def parsed(*words: str) -> edge_reloc.Settings:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    return settings_of(parser.parse_args(words))


def test_the_command_line_without_options_is_the_default() -> None:
    assert parsed() == edge_reloc.Settings()


def test_every_setting_is_an_option() -> None:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    options = {word for action in parser._actions for word in action.option_strings}
    assert {f"--{f.name.replace('_', '-')}" for f in fields(edge_reloc.Settings)} <= options


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('method = "landmarks"\nradius = 2\ntracking = true\n')
    settings = parsed("--settings", str(file), "--no-tracking", "--min-inliers", "20")
    assert settings == edge_reloc.Settings(method="landmarks", radius=2, min_inliers=20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("min_inlier = 20", "unknown setting 'min_inlier'; did you mean 'min_inliers'?"),
        ("min-inliers = 20", "unknown setting 'min-inliers'; did you mean 'min_inliers'?"),
        ("[gate]\nmin_inliers = 20", "unknown setting 'gate'"),
        ("min_inliers = 5", "min_inliers: found 5, expected at least 6"),
        ("tracking = 1", "tracking: found 1, expected true or false"),
        ("trust_engines = true", "'trust_engines' is not taken from a file; give the option --tr"),
        ("engine_host_code = true", "'engine_host_code' is not taken from a file; give the option"),
        ("tracking = ", "not a readable TOML file"),
        (None, "no such settings file"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(edge_reloc.ConfigError, match=re.escape(expected)) as caught:
        parsed("--settings", str(file))
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_the_map_that_is_meant(tmp_path: Path) -> None:
    """EDGE_RELOC_MAP, this folder, the only one under maps/, else one line."""

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
        return folder

    assert default_map({"EDGE_RELOC_MAP": "/there"}, tmp_path) == Path("/there")
    with pytest.raises(edge_reloc.ConfigError, match="there is none here or in maps/"):
        default_map({}, tmp_path)
    office = make(tmp_path / "maps" / "office")
    (tmp_path / "maps" / "office.work").mkdir()
    assert default_map({"EDGE_RELOC_MAP": ""}, tmp_path) == office
    assert default_map({}, office) == office
    make(tmp_path / "maps" / "yard")
    with pytest.raises(edge_reloc.ConfigError, match=r"maps/ holds 2 \(office, yard\)"):
        default_map({}, tmp_path)


def test_a_method_from_outside_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(type(METHODS["exhaustive"])):  # type: ignore[misc]
        name = "renamed"

    monkeypatch.setitem(METHODS, "renamed", Renamed())
    with edge_reloc.open(DEMO / "map", method="renamed") as localizer:
        assert localizer.settings.method == "renamed" and localizer.localize(PHOTO).ok
