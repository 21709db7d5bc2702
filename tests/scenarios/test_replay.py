"""A flight recording of the demo, run again: the same lines, to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("mcap")

from edge_reloc.geometry.camera import read_camera, write_camera
from edge_reloc.recording.ring import Ring
from edge_reloc.run import main
from edge_reloc.running.demo import demo_folder
from edge_reloc.running.replay import Resumption

RATE_HZ = 30  # of photos
WALK_HZ = 4  # of a video of them, at which a person could have taken them
KEPT = 5  # frames in the ring
FRAMES = 9
WRONG_FOCAL = 1.05  # noticed by several frames together, not by one
CLOCK = ("stages_ms", "age_ms")  # what no two runs have in common


def lines(path: Path) -> list[dict[str, Any]]:
    """Of poses.jsonl, without times of the wall clock."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in CLOCK} for line in found]


def video(folder: Path, path: Path, hz: int) -> Path:
    """A video of photos."""
    images = [cv2.imread(str(photo)) for photo in sorted(folder.iterdir())]
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), hz, (width, height))
    for image in images:
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., tuple[Path, list[dict[str, Any]]]]:
    """Runs some frames of the demo; the recording of the last ones, and their lines."""
    demo, frames = demo_folder(), tmp_path / "frames"
    frames.mkdir()
    for path in sorted((demo / "frames").iterdir())[:FRAMES]:
        shutil.copy(path, frames)

    def recorded(
        *options: str, focal: float = 1.0, count: int = FRAMES, hz: int = RATE_HZ
    ) -> tuple[Path, list[dict[str, Any]]]:
        source = frames if hz == RATE_HZ else video(frames, tmp_path / "walk.avi", hz)
        camera = read_camera(demo / "camera.json")
        camera = type(camera)(**{**vars(camera), "fx": camera.fx * focal, "fy": camera.fy * focal})
        write_camera(tmp_path / "camera.json", camera)
        code = main(
            [
                *("--map", str(demo / "map"), "--source", str(source)),
                *("--calibration", str(tmp_path / "camera.json")),
                *("--output", str(tmp_path / "a.jsonl")),
                *("--record", str(tmp_path / "flight"), "--record-seconds", str((KEPT - 0.5) / hz)),
                *("--record-at-end", "--frames", str(count), *options),
            ]
        )
        assert code == 0
        (recording,) = (tmp_path / "flight").iterdir()
        whole = lines(tmp_path / "a.jsonl")
        assert len(whole) == count
        return recording, whole[-KEPT:]

    return recorded


@pytest.mark.parametrize(
    ("options", "focal", "hz"),
    [
        (["--tracking"], 1.0, RATE_HZ),
        (["--in-flight", "2"], WRONG_FOCAL, RATE_HZ),
        (["--in-flight", "2", "--tracking", "--states"], 1.0, WALK_HZ),
        (["--tracking", "--states", "--search-every", "2"], 1.0, WALK_HZ),
        (["--in-flight", "2", "--tracking", "--search-every", "1"], 1.0, RATE_HZ),
    ],
    ids=[
        "tracking",
        "calibration check, two in flight",
        "states, two in flight",
        "states, poses verified",
        "poses verified, two in flight",
    ],
)
def test_a_replay_gives_the_same_poses_to_the_bit(
    record: Callable[..., tuple[Path, list[dict[str, Any]]]],
    options: list[str],
    focal: float,
    hz: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording, expected = record(*options, focal=focal, hz=hz)
    # Where a pose is to be verified and no close look finds it, the frame is searched for.
    tracked = [line["tracked"] for line in expected]
    assert any(tracked) is ("--tracking" in options)
    assert all(tracked) is any(tracked) or "--search-every" in options
    capsys.readouterr()
    replayed = ["--replay", str(recording), "--output", str(tmp_path / "b.jsonl")]
    assert main(replayed) == 0
    assert lines(tmp_path / "b.jsonl") == expected
    told = capsys.readouterr()
    assert "as recorded" in told.out and "may differ" not in told.err
    # What was remembered before the recording is what makes them the same.
    monkeypatch.setattr(Resumption, "before", lambda *_: None)
    assert main(replayed) == 0
    assert lines(tmp_path / "b.jsonl") != expected


def test_a_replay_goes_on_after_gaps_with_two_frames_in_flight(
    record: Callable[..., tuple[Path, list[dict[str, Any]]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is remembered before a frame counts when the frames before it are done."""
    add = Ring.add

    def after_a_gap(ring: Ring, *kept: Any) -> None:
        ring.resume_here()
        add(ring, *kept)

    monkeypatch.setattr(Ring, "add", after_a_gap)
    recording, expected = record("--in-flight", "2", "--tracking", "--states", hz=WALK_HZ)
    replayed = ["--replay", str(recording), "--output", str(tmp_path / "b.jsonl")]
    assert main(replayed) == 0
    assert lines(tmp_path / "b.jsonl") == expected


def test_a_replay_runs_in_the_map_that_it_was_recorded_in(
    record: Callable[..., tuple[Path, list[dict[str, Any]]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = tmp_path / "map"
    shutil.copytree(demo_folder() / "map", copy)
    recording, expected = record("--map", str(copy), "--method", "exhaustive", count=5)
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    capsys.readouterr()
    assert main(["--replay", str(recording)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "name the map with --map DIR" in error
    replayed = ["--replay", str(recording), "--map", str(copy), "--output"]
    assert main([*replayed, str(tmp_path / "b.jsonl"), "--seed", "1"]) == 0
    found = lines(tmp_path / "b.jsonl")
    assert [line["status"] for line in found] == ["OK"] * 5 and found != expected
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings[0].endswith("poses will differ")
    assert warnings[1].endswith("poses may differ: seed set to 1")
    shutil.move(copy, tmp_path / "moved")
    assert main(["--replay", str(recording)]) == 1
    assert "is not there; name it with --map DIR" in capsys.readouterr().err


def test_options_that_make_no_sense_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, words in (
        (["--replay", "x.mcap", "--source", "photos"], "--replay brings its own frames"),
        (["--replay", "x.mcap", "--demo"], "--replay brings its own frames"),
        (["--demo", "--record-seconds", "3"], "need --record DIR"),
    ):
        with pytest.raises(SystemExit):
            main(options)
        assert words in capsys.readouterr().err
    assert main(["--demo", "--record", str(tmp_path), "--budget", "200MiB"]) == 1
    error = capsys.readouterr().err
    assert "recorder 265.4" in error and "--record-memory lowers" in error
    assert main(["--replay", "nowhere.mcap"]) == 1
    assert "nowhere.mcap: cannot be read" in capsys.readouterr().err
