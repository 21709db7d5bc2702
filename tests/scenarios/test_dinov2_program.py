"""ViSiR's own image feature by the programs: map, train, run, with a small network of DINOv2's
structure and random weights, since the published ones are the user's to bring.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pycolmap")

import torch
from dinov2_weights import DIM, write_dinov2
from plane_world import make_plane_world, write_truth

from edge_reloc import run
from edge_reloc.bundle import open_bundle
from edge_reloc.bundle.layout import VIEW_EMBEDDING
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.table import VISIBLE_STRUCTURE
from edge_reloc_export import combine, map, train
from edge_reloc_export.training.visible_structure import session
from edge_reloc_export.training.visible_structure.cells import CellsConfig
from edge_reloc_export.training.visible_structure.generative import PAPER, PRESETS

PHOTOS = 16  # of which two blocks of one are held out
NEAR_M, NEAR_DEG = 0.01, 0.5  # of photos that were mapped, some metres away


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, truth, weights, and a map that was made and trained with them."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tokens")
    world = make_plane_world(folder / "world", frames=PHOTOS)
    shutil.copytree(world.frames, folder / "images")
    write_truth(folder / "reference", world.cam_from_world)
    np.savez(folder / "truth.npz", **world.cam_from_world)
    write_dinov2(folder / "vit.pth")
    assert map.main(mapping(folder, folder / "map", "--embedding-weights", "vit.pth")) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "CellsConfig", partial(CellsConfig, steps=200))
        command = ["--map", str(folder / "map"), "--device", "cpu", "--iterations", "20"]
        assert train.main(command) == 0
    return folder


def mapping(folder: Path, output: Path, *more: str) -> list[str]:
    command = ["--images", folder / "images", "--poses", folder / "reference", "--metric"]
    command += ["--features", "sift", "--keypoints", "600", "--gps", "none", "--output", output]
    command += ["--embedding", "dinov2", *(folder / m if m.endswith("pth") else m for m in more)]
    return [str(c) for c in command]


def test_the_network_is_in_the_map_and_described(place: Path) -> None:
    bundle = open_bundle(place / "map")
    embedding = bundle.manifest.embedding
    assert embedding is not None and (embedding.kind, embedding.dim) == ("dinov2", DIM)
    assert embedding.network is not None
    told = bundle.manifest.files[embedding.network].network
    assert told is not None and told.inputs["image"].shape == (1, 3, 224, 224)
    rows = np.asarray(bundle.array(VIEW_EMBEDDING), np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)  # float16
    assert bundle.manifest.integrity is not None  # measured although no network ran for it


def test_heads_learn_from_the_token_that_a_frame_has(place: Path) -> None:
    """Not from VLAD, not from its direction, and not from a grey photo's."""
    trained = session.VisibleStructureSession(place / "map", place / "map.work", "cpu")
    bank, view = trained.bank, trained.model.views[3]
    assert bank.embedding.shape == (PHOTOS, DIM) and not bank.unit
    settings = Settings(method=VISIBLE_STRUCTURE.name, engine="onnxruntime")
    localizer = Localizer.open(open_bundle(place / "map"), view.camera, settings)
    result = localizer.localize(place / "images" / view.name)
    found = result.features.embedding.copy()
    localizer.close()
    np.testing.assert_allclose(found, bank.embedding[3], atol=1e-5)
    assert np.linalg.norm(found) > 2
    assert np.abs(found - bank.embedding[8]).max() > 1e-2
    decoder = trained.bundle.manifest.files["nets/generative.onnx"].network
    assert decoder is not None and decoder.inputs["embedding"].shape == (1, DIM)


@pytest.mark.parametrize("head", ["generative", "cells"])
def test_run_localises(head: str, place: Path, tmp_path: Path) -> None:
    command = ["--map", place / "map", "--source", place / "images", "--head", head]
    assert run.main([*map_str(command), "--output", str(tmp_path / "poses.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["OK"] * PHOTOS
    truth = np.load(place / "truth.npz")
    for line in lines:
        error = pose_error(np.array(line["cam_from_world"]), truth[line["name"]])
        assert error.translation < NEAR_M and error.rotation_deg < NEAR_DEG


def trained_radius(bundle: Path) -> float | None:
    trained = VISIBLE_STRUCTURE.trained(open_bundle(bundle).manifest)
    assert trained is not None
    return trained.heads["generative"].radius


def map_str(command: list[object]) -> list[str]:
    return [str(c) for c in command]


def test_the_default_head_was_chosen_on_held_out_photos(place: Path) -> None:
    report = json.loads((place / "map.work" / "training.json").read_text())
    assert report["choice"]["photos"] == 2 and report["choice"]["reason"] == "a tie"
    trained = VISIBLE_STRUCTURE.trained(open_bundle(place / "map").manifest)
    assert trained is not None and trained.head == report["choice"]["head"] == "generative"
    assert not (place / "map.work" / "heads").exists()


def test_preset_paper_returns_all_within_five_metres(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("map", "map.work"):
        shutil.copytree(place / name, tmp_path / name)
    small = replace(PAPER, width=16, photos=4, points=4, samples=2)  # as it is, 17 s an iteration
    monkeypatch.setitem(PRESETS, "paper", small)
    command = ["--map", str(tmp_path / "map"), "--preset", "paper", "--head", "generative"]
    command += ["--device", "cpu", "--iterations", "2"]
    assert train.main([*command, "--radius", "2.5"]) == 0
    assert trained_radius(tmp_path / "map") == 2.5
    assert train.main(command) == 0
    assert any("goes on from iteration 2 of 2" in m for m in caplog.messages)
    assert "on photos that it has learnt" in capsys.readouterr().out
    manifest = open_bundle(tmp_path / "map").manifest
    trained = VISIBLE_STRUCTURE.trained(manifest)
    assert trained is not None
    head = trained.heads["generative"]
    assert (head.preset, head.radius, head.samples) == ("paper", 5.0, 1000)
    assert head.candidates == manifest.statistics["points"]  # none is cut off
    command = ["--map", tmp_path / "map", "--source", place / "images", "--head", "generative"]
    command += ["--frames", 4]
    assert run.main([*map_str(command), "--output", str(tmp_path / "poses.jsonl")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "poses.jsonl").read_text().splitlines()]
    assert {line["status"] for line in lines} == {"OK"}


def test_combined_maps_keep_their_network(place: Path, tmp_path: Path) -> None:
    for part in ("one", "two"):
        shutil.copytree(place / "map", tmp_path / part)
        shutil.copytree(place / "map.work", tmp_path / f"{part}.work")
    parts = [str(tmp_path / part) for part in ("one", "two")]
    assert combine.main(["--maps", *parts, "--output", str(tmp_path / "both")]) == 0
    embedding = open_bundle(tmp_path / "both").manifest.embedding
    assert embedding is not None and embedding.kind == "dinov2"
    assert len(open_bundle(tmp_path / "both").array(VIEW_EMBEDDING)) == 2 * PHOTOS


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ((), "--embedding dinov2 and --embedding-weights FILE need each other"),
        (("--embedding-weights", "none.pth"), "none.pth: no such weights file; give DINOv2's"),
    ],
    ids=["no weights", "none there"],
)
def test_weights_that_are_not_there_are_one_line(
    more: tuple[str, ...],
    line: str,
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert map.main(mapping(place, tmp_path / "map", *more)) == 1
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
    assert not (tmp_path / "map").exists()
