"""Scoring: thresholds, method names, curves and the table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import ConfigError, SourceError
from edge_reloc.evaluate import main
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.evaluation.score import Score, medians
from edge_reloc.evaluation.score_table import format_table
from edge_reloc.evaluation.thresholds import parse_thresholds, thresholds_of
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.methods import Settings
from edge_reloc.reference.colmap import ColmapImage, ColmapModel, write_model_text
from edge_reloc.running.demo import DEMO
from tests.courtyard import courtyard


def test_thresholds_are_read_with_their_units() -> None:
    metric, relative = parse_thresholds("5cm/5deg,1%/0.5deg")
    assert (metric.limit(7.0), metric.rotation_deg) == (pytest.approx(0.05), 5.0)
    assert relative.limit(7.0) == pytest.approx(0.07)
    for wrong in ("5 apples", "1.2.3cm/5deg", "5cm"):
        with pytest.raises(ConfigError, match=wrong):
            parse_thresholds(wrong)


def test_every_noughth_query_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--map", "m", "--data", "d", "--every", "0"])
    assert "--every: found 0, expected 1 to" in capsys.readouterr().err


def test_method_names_become_settings() -> None:
    base = Settings()
    assert parse_method("image_retrieval:7", base).settings.images == 7
    cells = parse_method("cells:900+2", base).settings
    assert (cells.method, cells.head, cells.candidates) == ("visible_structure", "cells", 900)
    assert cells.second_pass is True
    assert parse_method("exhaustive", base).settings.second_pass is False
    wise = parse_method("landmark_wise:5+2+t", base).settings
    assert (wise.method, wise.registration, wise.landmarks) == ("landmarks", "landmark_wise", 5)
    assert (wise.second_pass, wise.tracking) == (True, True)
    assert parse_method("landmarks", base).settings.registration == "one_pass"
    half = parse_method("cells+f16+trt", base).settings
    assert (half.precision, half.engine, half.second_pass) == ("float16", "tensorrt", False)
    for wrong in ("cells:many", "cells+3", "cells+2+x"):
        with pytest.raises(ConfigError):
            parse_method(wrong, base)


def scene(folder: Path, distance: float) -> Path:
    """Cameras on a circle that look at its centre."""
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5)
    images = []
    for index, angle in enumerate(np.linspace(0, 2, 6)):
        turned = compose(so3_exp([0.0, angle, 0.0]), [0.0, 0.0, distance])
        images.append(ColmapImage(name=f"{index}.jpg", camera_id=1, cam_from_world=turned))
    write_model_text(
        folder / "reference", ColmapModel(cameras={1: camera}, images=images, points={})
    )
    return folder


def test_scene_size_is_the_distance_to_what_is_looked_at(tmp_path: Path) -> None:
    assert read_dataset(scene(tmp_path / "place", 3.5)).size() == pytest.approx(3.5)


def test_queries_without_reference_are_named(tmp_path: Path) -> None:
    folder = scene(tmp_path / "place", 2.0)
    (folder / "queries.txt").write_text("1.jpg\nnowhere.jpg\n")
    with pytest.raises(SourceError, match=r"1 of 2 .*nowhere\.jpg"):
        read_dataset(folder)


@pytest.mark.parametrize("option", ["--plot", "--stanford", "--pit", "--curves"])
def test_a_plot_that_is_no_picture_is_refused_before_the_work(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--map", "nowhere", "--data", "nowhere", option, str(tmp_path / "a.txt")]) == 1
    assert "a.txt: expected a picture named .png, or one of " in capsys.readouterr().err


def test_demo_scores_as_json_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = courtyard(tmp_path)
    plot = tmp_path / "curves.png"
    command = ["--map", str(DEMO / "map"), "--data", str(place), "--json", "--curves", str(plot)]
    command += ["--thresholds", "5cm/1deg", "--methods", "exhaustive,cells+2,image_retrieval:3"]
    assert main(command) == 0
    values = json.loads(capsys.readouterr().out)
    assert [score["method"] for score in values["scores"]] == [
        "exhaustive",
        "cells+2",
        "image_retrieval:3",
    ]
    assert all(score["within"]["5cm/1deg"] == 1.0 for score in values["scores"])
    curves = {curve["method"]: curve["recall"] for curve in values["curves"]}
    assert {"image_retrieval", "cells", "generative", "landmarks"} <= set(curves)
    for recall in curves.values():  # more of the map never holds fewer of the points
        assert (np.diff(recall) > -1e-9).all() and recall[-1] > 0.5
    assert plot.stat().st_size > 10_000


SCORE = Score(
    scene="a",
    map="m",
    method="exhaustive",
    queries=2,
    ok=2,
    within={"5cm/5deg": 1.0},
    median_error=0.01,
    median_deg=0.1,
    median_error_ok=0.01,
    median_deg_ok=0.1,
    metric=True,
    scene_size=5.0,
    candidates=10,
    map_points=20,
    stages_ms={"extract": (1.0, 2.0), "match": (3.0, 4.0)},
    total_ms=(4.0, 6.0),
    map_mb=1.5,
    statuses={"OK": 2},
)


def test_table_leaves_out_what_no_method_has() -> None:
    plain = format_table([SCORE])
    assert "top-1" not in plain
    assert "track" not in plain
    both = format_table([SCORE, replace(SCORE, method="landmarks+t", recognised=0.734)])
    header, one, other = both.splitlines()[1:]
    assert ("top-1" in header, "track" in header) == (True, False)
    assert "73.4 %" in other
    assert "73.4 %" not in one
    assert len({len(line) for line in (header, one, other)}) == 1


def test_a_map_without_metres_has_no_centimetres() -> None:
    with pytest.raises(ConfigError, match=r"threshold '5cm/5deg': maps/x is not metric; give a"):
        thresholds_of("1%/1deg,5cm/5deg", False, "maps/x")
    assert [t.text for t in thresholds_of(None, False, "x")] == ["1%/1deg", "5%/5deg"]
    assert [t.text for t in thresholds_of(None, True, "x")] == ["5cm/5deg", "10cm/5deg"]
    assert [t.text for t in thresholds_of("0.1u/5deg", False, "x")] == ["0.1u/5deg"]


def test_errors_of_such_a_map_are_shares_of_the_scene() -> None:
    score = replace(SCORE, metric=False, median_error=0.05, scene_size=5.0)
    assert "1.00 % 0.100°" in format_table([score]) and " cm" not in format_table([score])
    assert "not metric" in format_table([score])


def test_a_median_counts_what_was_not_found() -> None:
    errors = np.array([[0.01, 1.0], [0.02, 2.0], [np.inf, np.inf]])
    assert medians(errors) == (0.02, 2.0)
    assert medians(errors[1:]) == (None, None)  # half of them: the middle lies nowhere
    assert medians(errors[:0]) == (None, None)
    assert "-" in format_table([replace(SCORE, median_error=None, median_deg=None)])


def test_a_method_that_cannot_is_told_and_the_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--map", str(DEMO / "map"), "--data", str(courtyard(tmp_path)), "--json"]
    assert main([*command, "--methods", "exhaustive,scene_coordinates+2,cells"]) == 1
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert [score["method"] for score in values["scores"]] == ["exhaustive", "cells"]
    assert len(values["unable"]) == 1
    assert "not scored: courtyard, map, scene_coordinates+2: " in err and "Traceback" not in err


def test_json_is_strict_where_no_query_has_a_pose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--map", str(DEMO / "map"), "--data", str(courtyard(tmp_path)), "--json"]
    assert main([*command, "--methods", "exhaustive", "--min-inliers", "100000"]) == 0
    (score,) = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["scores"]
    assert score["ok"] == 0 and score["median_error"] is None
    assert all(row[2] is None for row in score["errors"])
