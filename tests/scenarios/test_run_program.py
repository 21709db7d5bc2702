"""`edge-reloc run` and `inspect` from end to end, as users start them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
from plane_world import PlaneWorld, write_truth

from edge_reloc import __version__
from edge_reloc.__main__ import PROGRAMS
from edge_reloc.geometry.rigid import compose, invert, pose_error, rotation_from_quat

Program = Callable[..., CompletedProcess[str]]

# SIFT on a noise-free render, 3 m away: errors are millimetres. An error in a
# convention (half pixel, inverse, quaternion order) is far larger.
POSITION_M = 0.02
ROTATION_DEG = 0.3


def test_poses_agree_with_the_truth_in_both_formats(
    edge_reloc: Program, corner: PlaneWorld, tmp_path: Path
) -> None:
    done = edge_reloc(
        *("run", "--map", corner.bundle, "--source", corner.frames),
        *("--output", "a.jsonl", "--output", "b.tum", "--picture", "run.png", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    rows = [line.split() for line in (tmp_path / "b.tum").read_text().splitlines()]
    assert [line["name"] for line in lines] == list(corner.cam_from_world)
    assert len(rows) == len(lines)
    for line, row in zip(lines, rows, strict=True):
        truth = corner.cam_from_world[line["name"]]
        assert line["status"] == "OK"
        assert set(line["stages_ms"]) >= {"extract", "retrieve", "match", "solve"}
        assert np.linalg.eigvalsh(np.array(line["covariance"])).min() > 0
        x, y, z, qx, qy, qz, qw = (float(word) for word in row[1:])
        world_from_cam = compose(rotation_from_quat([qw, qx, qy, qz]), [x, y, z])
        for cam_from_world in (np.array(line["cam_from_world"]), invert(world_from_cam)):
            error = pose_error(cam_from_world, truth)
            assert error.translation < POSITION_M and error.rotation_deg < ROTATION_DEG
    summary = json.loads(done.stdout)
    assert summary["frames"] == summary["localized"] == len(lines)
    assert summary["errors"] is None
    assert summary["arena_bytes"] > 0 and summary["map_bytes"] > 0
    for spread in (*summary["stages"].values(), summary["localize"]):
        assert 0 < spread["p50_ms"] <= spread["p95_ms"] <= spread["p99_ms"] <= spread["max_ms"]
    assert cv2.imread(str(tmp_path / "run.png")).shape[2] == 3


def test_same_frames_same_poses(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        edge_reloc("run", "--map", corner.bundle, "--source", corner.frames, "--output", name)
    poses = [
        [json.loads(line)["cam_from_world"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("a.jsonl", "b.jsonl")
    ]
    assert poses[0] == poses[1]
    assert len(poses[0]) == len(corner.cam_from_world)


def test_list_of_frames(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("003.png\n001.png\n")
    done = edge_reloc(
        *("run", "--map", corner.bundle, "--source", corner.frames, "--list", "names.txt"),
        *("--output", "a.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["003.png", "001.png"]


def test_summary_for_people(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("run", "--map", corner.bundle, "--source", corner.frames, "--frames", 3)
    assert done.returncode == 0, done.stderr
    for words in (
        "as the mapping camera 'render' (no --calibration given)",
        "localised 3 (100.0 %)",
        "extract",
        "first frame",
        "peak",
    ):
        assert words in done.stdout


def test_module_and_command_are_the_same(corner: PlaneWorld) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_reloc.run", "--map", "nowhere", "--source", "x"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere: no such map bundle")


def test_ctrl_c_ends_with_the_summary(corner: PlaneWorld, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(2000):
        os.link(corner.frames / f"{index % 8:03d}.png", folder / f"{index:05d}.png")
    output = tmp_path / "poses.jsonl"
    command = [sys.executable, "-m", "edge_reloc", "run", "--map", corner.bundle]
    process = subprocess.Popen(
        [*map(str, command), "--source", str(folder), "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (output.exists() and output.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    assert stderr == ""
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert 0 < len(lines) < 2000
    assert f"frames     {len(lines)} " in stdout


def test_demo_files_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_reloc.run import main

    monkeypatch.setattr("edge_reloc.running.demo.DEMO", tmp_path)
    assert main(["--demo"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_demo_prints_the_error_against_the_truth(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    corner: PlaneWorld,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the corner in the demo's place; the shipped demo has its own test."""
    from edge_reloc.run import main

    shutil.copytree(corner.bundle, tmp_path / "map")
    shutil.copytree(corner.frames, tmp_path / "frames")
    shutil.copy(corner.camera, tmp_path / "camera.json")
    write_truth(tmp_path / "truth", corner.cam_from_world)
    monkeypatch.setattr("edge_reloc.running.demo.DEMO", tmp_path)
    assert main(["--demo", "--json"]) == 0
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert errors["frames"] == errors["localized"] == len(corner.cam_from_world)
    assert 0 < errors["median_m"] <= errors["p90_m"] <= errors["max_m"] < POSITION_M
    assert 0 < errors["median_deg"] <= errors["max_deg"] < ROTATION_DEG
    assert main(["--demo"]) == 0
    assert "median" in capsys.readouterr().out


def test_inspect(edge_reloc: Program, corner: PlaneWorld) -> None:
    done = edge_reloc("inspect", corner.bundle, "--verify", "--memory")
    assert done.returncode == 0, done.stderr
    for words in ("corner", "metres", "sift, 128 numbers", "3000 points", "verified", "buffers"):
        assert words in done.stdout


def test_inspect_json(edge_reloc: Program, corner: PlaneWorld) -> None:
    values = json.loads(edge_reloc("inspect", corner.bundle, "--memory", "--json").stdout)
    assert values["points"] == 3000 and values["cells"] == 1
    assert values["files"]["points/xyz.npy"]["shape"] == [3000, 3]
    memory = values["memory"]
    assert memory["exhaustive"]["arena_bytes"] > 0
    sizes = [entry["nbytes"] for entry in values["files"].values()]
    assert memory["exhaustive"]["map_bytes"] == sum(sizes)
    assert "edge-reloc train" in memory["visible_structure cells"]["unavailable"]


def test_version(edge_reloc: Program) -> None:
    assert edge_reloc("--version").stdout.strip() == f"edge-reloc {__version__}"


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(edge_reloc: Program, program: str) -> None:
    done = edge_reloc(program, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: edge-reloc {program}")


def test_closed_pipe_is_silent(corner: PlaneWorld) -> None:
    command = f"{sys.executable} -m edge_reloc inspect {corner.bundle} --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "{"
    assert done.stderr == ""
