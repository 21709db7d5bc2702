"""Photos to a map that is a network, by the programs alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pycolmap")

import torch

from edge_reloc import evaluate, inspect, run
from edge_reloc.bundle import open_bundle
from edge_reloc_export import export_onnx, map, train
from edge_reloc_export import export_single as to_single
from edge_reloc_export.training.scene_coordinates.presets import PRESETS
from tests.plane_world import make_plane_world, write_truth

# Of a schedule of 4,000 with 2,560 cells: enough for ten photos by heart.
PHOTOS, ITERATIONS, CELLS = 10, 400, 768


@pytest.fixture(scope="module", autouse=True)
def small_batches() -> Iterator[None]:
    """The quick schedule with fewer cells a batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "quick", replace(PRESETS["quick"], cells=CELLS))
        yield


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and reference/ of the corner, and its map, trained. SIFT made the map."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("corner")
    world = make_plane_world(folder / "world", frames=PHOTOS)
    shutil.copytree(world.frames, folder / "data" / "images")
    write_truth(folder / "data" / "reference", world.cam_from_world)
    command = ["--images", folder / "data" / "images", "--poses", folder / "data" / "reference"]
    command += ["--features", "sift", "--keypoints", "2000", "--metric", "--gps", "none"]
    assert map.main([str(c) for c in [*command, "--output", folder / "map"]]) == 0
    assert trained(folder, "--iterations", str(ITERATIONS)) == 0
    return folder


def trained(scene: Path, *more: str) -> int:
    command = ["--map", str(scene / "map"), "--method", "scene_coordinates", "--device", "cpu"]
    return train.main([*command, *more])


def test_photos_of_the_place_are_localised(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads((scene / "map.work" / "training_scene_coordinates.json").read_text())
    assert report["cells"] > 1000 and 0.05 < report["known_depth"] < 1
    assert (scene / "map.work" / "training_scene_coordinates.png").is_file()
    judged = open_bundle(scene / "map").manifest.methods["scene_coordinates"]["judged"]
    assert judged == {k: v for k, v in report["judged"].items() if v is not None}
    assert not judged["left_out"]
    assert judged["localised"] >= 0.8 * PHOTOS and judged["median_error"] < 0.1
    capsys.readouterr()
    command = ["--map", str(scene / "map"), "--data", str(scene / "data"), "--threads", "1"]
    assert evaluate.main([*command, "--methods", "scene_coordinates,exhaustive", "--json"]) == 0
    scores = {s["method"]: s for s in json.loads(capsys.readouterr().out)["scores"]}
    score = scores["scene_coordinates"]
    assert score["ok"] >= 0.8 * PHOTOS
    assert score["median_error"] < 0.1, score["median_error"]
    assert (score["map_points"], score["candidates"]) == (0, 0)


def test_a_run_reads_nothing_of_the_map_but_the_network(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = open_bundle(scene / "map")
    network = bundle.manifest.methods["scene_coordinates"]["features"]["networks"][0]["file"]
    size = bundle.manifest.files[network].nbytes
    command = ["--map", str(scene / "map"), "--source", str(scene / "data" / "images")]
    picture, output = tmp_path / "run.png", tmp_path / "poses.jsonl"
    command += ["--method", "scene_coordinates", "--threads", "1"]
    assert run.main([*command, "--picture", str(picture), "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert "held by networks" in said.out + said.err
    assert f"{size / 1e6:.1f} MB" in said.out + said.err
    assert picture.stat().st_size > 10_000
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert sum(line["status"] == "OK" for line in lines) >= 0.8 * PHOTOS


def test_a_map_of_the_network_alone_holds_no_points(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--map", str(scene / "map"), "--method", "scene_coordinates"]
    assert to_single.main([*command, "--output", str(tmp_path / "small")]) == 0
    small = open_bundle(tmp_path / "small", verify=True)
    assert all(name.startswith("nets/scene_coordinates") for name in small.manifest.files)
    found = []
    for where in (scene / "map", tmp_path / "small"):
        output = tmp_path / f"{where.name}.jsonl"
        command = ["--map", str(where), "--source", str(scene / "data" / "images")]
        command += ["--method", "scene_coordinates", "--threads", "1", "--output", str(output)]
        assert run.main(command) == 0
        found.append([json.loads(line)["cam_from_world"] for line in output.open()])
    assert found[0] == found[1]
    assert run.main([*command[2:], "--map", str(tmp_path / "small"), "--method", "exhaustive"]) == 1
    assert "points" in capsys.readouterr().err.splitlines()[-1]


def test_a_finished_training_is_not_trained_again(
    scene: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = json.loads((scene / "map.work" / "training_scene_coordinates.json").read_text())
    assert trained(scene, "--iterations", str(ITERATIONS)) == 0
    end = f"goes on from iteration {ITERATIONS} of {ITERATIONS}"
    assert any(end in message for message in caplog.messages)
    after = json.loads((scene / "map.work" / "training_scene_coordinates.json").read_text())
    assert after["history"] == before["history"]


def test_a_network_that_finds_nothing_again_is_refused_and_kept_for_whoever_insists(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("map", "map.work"):
        shutil.copytree(scene / folder, tmp_path / folder)
    bundle, before = tmp_path / "map", (tmp_path / "map" / "manifest.json").read_bytes()
    short = ("--iterations", "30", "--validate")
    assert trained(tmp_path, *short) == 1
    said = capsys.readouterr()
    error = said.err.strip().splitlines()[-1]
    assert error.startswith(f"error: {bundle}: left as it is, since scene coordinates are not le")
    assert f" of {PHOTOS} mapping photos (learnt, too few to leave any) localised" in error
    assert "--iterations 4000" in error and "--any-grade" in error
    assert (bundle / "manifest.json").read_bytes() == before
    report = json.loads((tmp_path / "map.work" / "training_scene_coordinates.json").read_text())
    assert report["refusal"] == error.removeprefix("error: ")
    assert 4 * report["judged"]["localised"] < 3 * PHOTOS or report["judged"]["wrong"] > 1

    assert trained(tmp_path, *short, "--any-grade") == 0
    again = json.loads((tmp_path / "map.work" / "training_scene_coordinates.json").read_text())
    assert (again["history"], again["refusal"]) == (report["history"], None)
    best = min(again["shares"], key=lambda share: again["shares"][share])
    assert len(again["shares"]) > 3 and float(best) == again["kept"]
    known = open_bundle(bundle, verify=True).manifest.methods["scene_coordinates"]
    assert known["kept"] == again["kept"]
    assert known["judged"] == {k: v for k, v in report["judged"].items() if v is not None}
    capsys.readouterr()
    assert inspect.main([str(bundle)]) == 0
    assert f"trained    scene_coordinates: {report['judged']['localised']} of {PHOTOS} mapping" in (
        capsys.readouterr().out
    )


def test_the_published_settings_go_the_whole_way(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of a percent of `paper`: cells, pairs of labels, a network of all cells, a pose
    asked of it in both precisions."""
    for folder in ("map", "map.work"):
        shutil.copytree(scene / folder, tmp_path / folder)
    paper = PRESETS["paper"]
    small = replace(
        paper,
        shape=replace(paper.shape, width=64, classifier_width=32),
        buffer=replace(paper.buffer, total=12_000),
        labels=replace(paper.labels, structural=8, batch=4000, rounds=10),
        cells=256,
    )
    monkeypatch.setitem(PRESETS, "paper", small)
    assert trained(tmp_path, "--preset", "paper", "--iterations", "20", "--any-grade") == 0
    known = open_bundle(tmp_path / "map", verify=True).manifest.methods["scene_coordinates"]
    assert (known["preset"], known["kept"], known["threshold_px"]) == ("paper", 0.49, 10)
    network = known["features"]["networks"][0]
    cells = (network["width"] // 8) * (network["height"] // 8)
    assert known["features"]["keypoints"] == round(0.49 * cells)
    assert export_onnx.main(["--map", str(tmp_path / "map"), "--count", "2"]) == 0
    command = ["--map", str(tmp_path / "map"), "--source", str(scene / "data" / "images")]
    command += ["--method", "scene_coordinates", "--threads", "1", "--precision", "float16"]
    assert run.main([*command, "--output", str(tmp_path / "poses.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").open()]
    assert len(lines) == PHOTOS and all(line["status"] != "OK" for line in lines)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--preset", "fast"], "preset: found 'fast', expected one of quick, paper"),
        (["--network", "tiny"], "network: found 'tiny', expected one of small, paper"),
        (["--encoder", "resnet"], "feature network: found 'resnet', expected one of xfeat"),
        (["--encoder", "xfeat"], "features 'xfeat' need their weights"),
        (["--depth", "nowhere"], "nowhere: no such folder of depth maps"),
    ],
)
def test_wrong_options_are_one_line(
    scene: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert trained(scene, *more) == 1
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
