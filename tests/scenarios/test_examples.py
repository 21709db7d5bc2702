"""Every example runs as it stands, and says what it found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plane_world import PlaneWorld

from edge_reloc.running.demo import DEMO

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
MOST_LINES = 40


def run_example(number: int, folder: Path, *arguments: object) -> str:
    """What an example prints, run in a folder and a process of its own."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES[number - 1]), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_numbered_and_short() -> None:
    assert [path.name[:3] for path in EXAMPLES] == [f"{n:02d}_" for n in range(1, 9)]
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= MOST_LINES, path.name


def test_one_photo(tmp_path: Path, corner: PlaneWorld) -> None:
    assert "camera at" in run_example(1, tmp_path)
    of_elsewhere = DEMO / "frames" / "frame_000.jpg"
    shown = run_example(1, tmp_path, corner.bundle, of_elsewhere, corner.camera)
    assert shown.startswith(("NO_", "IMPLAUSIBLE"))


def test_a_camera_loop(tmp_path: Path, corner: PlaneWorld) -> None:
    shown = run_example(2, tmp_path, DEMO / "frames" / "frame_00*.jpg")
    assert shown.count(" OK ") == len((tmp_path / "poses.jsonl").read_text().splitlines()) == 10
    assert " OK " in run_example(2, tmp_path, corner.frames, corner.bundle, corner.camera)


def test_your_own_retriever(tmp_path: Path) -> None:
    status, found, _, of, *_ = run_example(3, tmp_path).split()
    assert status == "OK" and 0 < int(found) < int(of)


def test_your_own_sink(tmp_path: Path) -> None:
    assert run_example(4, tmp_path).startswith("10 frames")
    lines = (tmp_path / "positions.csv").read_text().splitlines()
    assert lines[0] == "t_s,x,y,z" and len(lines) == 11
    assert len((tmp_path / "poses.tum").read_text().splitlines()) == 10


def test_a_map_and_its_training(tmp_path: Path) -> None:
    """The training makes the map where there is none."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    shown = run_example(6, tmp_path, tmp_path / "place")
    assert "a frame between two photos: OK" in shown
    assert "OK with" in shown.splitlines()[-1]


def test_a_budget(tmp_path: Path) -> None:
    shown = run_example(7, tmp_path)
    assert "refused: --budget" in shown and "fitted: OK" in shown


def test_two_maps(tmp_path: Path, corner: PlaneWorld) -> None:
    assert run_example(8, tmp_path).endswith("2 of 2 maps know it\n")
    photo, camera = DEMO / "frames" / "frame_000.jpg", DEMO / "camera.json"
    shown = run_example(8, tmp_path, corner.bundle, DEMO / "map", photo, camera)
    assert shown.endswith("1 of 2 maps know it\n")
