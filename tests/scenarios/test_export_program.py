"""`edge-reloc export`: a map's networks in float16, as a user meets it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import numpy as np

from edge_reloc.bundle import open_bundle
from edge_reloc.running.demo import DEMO

FRAMES = str(DEMO / "frames")
SAME_PLACE_M = 2e-3  # 0.5 mm was the most that float16 moved a frame of the demo


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's map with float16 networks only."""
    output = tmp_path_factory.mktemp("export") / "small"
    done = call("export", "onnx", "--demo", "--drop-float32", "--count", "4", "--output", output)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 convolutions and matrix products in float16" in done.stdout
    assert "of float16's largest, in frame_" in done.stdout
    return output


def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_reloc", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        **options,  # type: ignore[call-overload]
    )


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0], done.stderr


def poses(path: Path) -> dict[str, np.ndarray]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {x["name"]: np.array(x["cam_from_world"]) for x in lines if x["status"] == "OK"}


def test_a_map_in_float16_only_gives_the_same_poses(small: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small, verify=True)
    assert not bundle.has("nets/cells.onnx") and bundle.has("nets/cells.fp16.onnx")
    networks = [name for name in bundle.manifest.files if name.startswith("nets/")]
    assert len(networks) == 5  # of features, two heads, landmarks and scene coordinates
    common = ["--source", FRAMES, "--calibration", DEMO / "camera.json", "--frames", 6]
    for name, place in (("half", small), ("full", DEMO / "map")):
        output = ["--output", tmp_path / f"{name}.jsonl"]
        done = call("run", "--map", place, *common, *output)
        assert done.returncode == 0, done.stderr
    half, full = poses(tmp_path / "half.jsonl"), poses(tmp_path / "full.jsonl")
    assert half.keys() == full.keys() and len(full) == 6
    for name in full:
        assert np.abs(half[name] - full[name]).max() < SAME_PLACE_M


def test_a_precision_that_the_map_lacks(small: Path) -> None:
    common = ["--source", FRAMES, "--calibration", DEMO / "camera.json", "--frames", 1]
    one_line(
        call("run", "--map", small, *common, "--precision", "float32"),
        "holds 'nets/cells.onnx' in float16 only",
        "choose --precision float16",
    )
    one_line(
        call("run", "--demo", "--frames", 1, "--precision", "float16"),
        "has no float16 version of 'nets/cells.onnx'",
        "edge-reloc export onnx --map",
    )


def test_parity_of_the_demo(demo16: Path, tmp_path: Path) -> None:
    shutil.copytree(demo16, tmp_path / "map")
    demo = ["--map", tmp_path / "map", "--demo", "--every", 20]
    methods = ("cells+2", "generative+2", "landmarks+2")
    done = call("export", "parity", *demo, "--methods", ",".join(methods), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["reference"] == "onnx float32" and report["frames"] == 4
    assert [(row["method"], row["form"]) for row in report["poses"]] == [
        (method, form) for method in methods for form in ("float32, other seed", "float16")
    ]
    for row in report["poses"]:
        assert row["ok"] == row["reference_ok"] == 4
        assert row["broken_limits"] == [] and row["overlap"] > 0.99
    for network in report["networks"]:
        outputs = {e["output"]: e for e in network["outputs"]["float16"]}
        relative = {name: e["rms"] / e["size"] for name, e in outputs.items()}
        if network["role"] == "features":  # 28 convolutions, where the heads have three to nine
            assert set(relative) == {"xy_px", "scores", "descriptors", "place"}
            assert 0 < max(relative.values()) < 2e-3
        elif network["role"] == "scene_coordinates":  # its rows are sorted anew by score
            assert set(relative) == {"xy_px", "scores", "xyz_world"}
            assert 0 < relative["scores"] < 1e-2
        else:
            (error,) = relative.values()
            assert 0 < error < 1e-3
        assert len(network["layers"]) >= 3
    kept = open_bundle(tmp_path / "map", verify=True).manifest.parity
    assert kept["poses"] == report["poses"]


def test_parity_of_scene_coordinates(demo16: Path, tmp_path: Path) -> None:
    """Poses of a few centimetres' error may move by more than those of map points."""
    shutil.copytree(demo16, tmp_path / "map")
    demo = ["--map", tmp_path / "map", "--demo", "--every", 25, "--no-layers"]
    done = call("export", "parity", *demo, "--methods", "scene_coordinates", "--json")
    assert done.returncode in (0, 1), done.stderr
    (row,) = [r for r in json.loads(done.stdout)["poses"] if r["form"] == "float16"]
    assert done.returncode == (1 if row["broken_limits"] else 0)
    assert row["ok"] == row["reference_ok"] == 4
    assert row["shift"][0] < 0.02 and row["rotation_deg"][0] < 0.3
    assert row["overlap"] == 1.0 and row["repeated"] > 0.98


def test_what_export_refuses(small: Path, tmp_path: Path) -> None:
    one_line(
        call("export", "onnx", "--map", small),
        "holds no network in float32",
    )
    shutil.copytree(DEMO / "map", tmp_path / "map")
    one_line(
        call("export", "onnx", "--map", tmp_path / "map"),
        "map.work: no work folder of this map",
        "--photos",
    )
    photos = ["--photos", FRAMES, "--count", 1]
    one_line(
        call("export", "onnx", "--map", tmp_path / "map", *photos, "--keep-float32", "absent*"),
        "no network has a layer 'absent*'",
        "names look like",
    )
    one_line(
        call("export", "parity", "--map", small, "--source", FRAMES),
        "has no 'nets/",
        "parity compares both precisions",
    )
    assert call("export", "parity", "--demo").returncode == 2
    assert call("export", "onnx").returncode == 2
    assert call("export", "magic").returncode == 2


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same error of the system."""
    output = tmp_path / "out"
    done = call(
        *("export", "onnx", "--demo", "--count", "1", "--output", output),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    one_line(done, f"{output}/", "cannot be written (File too large)", "MB are free")
    assert list(tmp_path.iterdir()) == []
