"""Photos to a map that recognises landmarks, by the programs alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pycolmap")

import torch

from edge_reloc import evaluate
from edge_reloc.bundle import open_bundle
from edge_reloc.retrieval.landmarks import open_landmarks
from edge_reloc_export import export_prune as prune
from edge_reloc_export import map, train
from tests.plane_world import make_plane_world, write_truth

PHOTOS = 10
LANDMARKS, ITERATIONS = 6, 25  # of a schedule of 2,400: the way is tested, not the end


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """images/ and reference/ of the corner, and its map, trained."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("corner")
    world = make_plane_world(folder / "world", frames=PHOTOS)
    shutil.copytree(world.frames, folder / "data" / "images")
    write_truth(folder / "data" / "reference", world.cam_from_world)
    command = ["--images", folder / "data" / "images", "--poses", folder / "data" / "reference"]
    command += ["--features", "sift", "--keypoints", "600", "--metric", "--gps", "none"]
    assert map.main([str(c) for c in [*command, "--output", folder / "map"]]) == 0
    return folder


def trained(scene: Path, *more: str) -> int:
    command = ["--map", str(scene / "map"), "--method", "landmarks", "--device", "cpu"]
    return train.main([*command, "--iterations", str(ITERATIONS), *more])


def test_landmarks_are_trained_pruned_and_scored(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(scene, "--landmarks", str(LANDMARKS)) == 0
    report = json.loads((scene / "map.work" / "training_landmarks.json").read_text())
    assert report["landmarks"] == LANDMARKS
    assert (scene / "map.work" / "training_landmarks.png").is_file()
    for name, more in (("pruned", []), ("published", ["--published"])):
        command = ["--map", str(scene / "map"), "--output", str(scene / name)]
        assert prune.main([*command, *more]) == 0
        assert open_bundle(scene / name).nbytes() < open_bundle(scene / "map").nbytes()
    points = [open_bundle(scene / name).manifest.statistics["points"] for name in ("map", "pruned")]
    assert points[1] == round(points[0] / 2)
    capsys.readouterr()
    command = ["--data", str(scene / "data"), "--methods", "landmarks,landmarks+2,exhaustive+2"]
    for name in ("map", "pruned"):
        where = ["--map", str(scene / name), "--threads", "1", "--json"]
        assert evaluate.main([*command, *where]) == 0
        scores = {s["method"]: s for s in json.loads(capsys.readouterr().out)["scores"]}
        assert scores["landmarks+2"]["ok"] >= 0.8 * PHOTOS
        assert scores["landmarks"]["recognised"] is not None
        assert scores["landmarks"]["candidates"] < scores["exhaustive+2"]["candidates"]


def test_preset_paper_leaves_the_paper_s_settings_in_the_map(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the small network: 15 layers take minutes. That has a name of its own."""
    paper = scene / "paper"
    shutil.copytree(scene / "map", paper)
    command = ["--map", str(paper), "--work", str(scene / "map.work"), "--method", "landmarks"]
    command += ["--preset", "paper", "--network", "small", "--iterations", "2", "--device", "cpu"]
    assert train.main(command) == 0
    assert "precision@1 of all keypoints" in capsys.readouterr().out
    bundle = open_bundle(paper)
    told = bundle.manifest.methods["landmarks"]
    assert (told["registration"], told["most"], told["min_inliers"]) == ("published", 20, 64)
    assert told["second_pass"] is True  # algorithm 1, step 2
    assert (told["preset"], told["iterations"]) == ("paper_small", 2)
    landmarks = open_landmarks(bundle)
    assert landmarks.count == 16
    kept = len(landmarks.point_id)
    assert kept < bundle.manifest.statistics["points"]  # section 3.2: pruned
    # Dropping the rest from the map drops these points and no others.
    command = ["--map", str(paper), "--work", str(scene / "map.work"), "--published"]
    assert prune.main([*command, "--output", str(scene / "smaller"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"][1] == kept
    where = ["--data", str(scene / "data"), "--map", str(scene / "smaller"), "--threads", "1"]
    methods = ["--methods", "landmarks_published,landmarks_published+2", "--every", "5"]
    assert evaluate.main([*where, *methods, "--json"]) == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--preset", "paper", "--dimensions", "3"], "clustered on the ground plane"),
        (["--landmarks", "0"], "landmarks: found 0, expected 1 to 2048"),
        (["--preset", "fast"], "preset: found 'fast', expected one of quick, paper"),
        (["--network", "tiny"], "network: found 'tiny', expected one of paper, small"),
        (["--work", "nowhere"], "nowhere: no work folder of this map"),
    ],
)
def test_wrong_options_are_one_line(
    scene: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
) -> None:
    assert trained(scene, *more) == 1
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1
