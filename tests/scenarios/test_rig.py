"""Several cameras in one map, as users start them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.errors import ConfigError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.methods import Settings
from edge_reloc.run import main
from edge_reloc.running.budget import MIB, libraries_bytes, plan_footprint
from edge_reloc.running.demo import demo_folder
from edge_reloc.running.rig import Turns, _stopped_by_signals, read_rig
from edge_reloc.sinks.background import QUEUE_BYTES

FRONT = [[0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]
WAIT_S = 60.0


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "stages_ms"} for line in found]


def test_poses_are_those_of_each_camera_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = demo_folder()
    shutil.copy(demo / "camera.json", tmp_path)
    alone = {}
    common = ["--map", str(demo / "map"), "--method", "exhaustive", "--output"]
    for name, numbers in (("front", (0, 1, 2)), ("left", (40, 41))):
        (tmp_path / name).mkdir()
        for number in numbers:
            shutil.copy(demo / "frames" / f"frame_{number:03d}.jpg", tmp_path / name)
        output, camera = tmp_path / f"{name}.jsonl", str(demo / "camera.json")
        source = ["--source", str(tmp_path / name), "--calibration", camera]
        assert main([*common, str(output), *source]) == 0
        alone[name] = lines(output)
    cameras = [
        {
            "name": "front",
            "source": "front",
            "calibration": "camera.json",
            "body_from_cam": FRONT,
        },
        {"name": "left", "source": "left", "calibration": "camera.json"},
    ]
    rig = tmp_path / "rig.json"
    rig.write_text(json.dumps({"cameras": cameras}))
    capsys.readouterr()
    output = tmp_path / "both.jsonl"
    assert main([*common, str(output), "--rig", str(rig), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)["cameras"]
    assert {name: s["localized"] for name, s in summary.items()} == {"front": 3, "left": 2}
    both = lines(output)
    for line in both:
        body = line.pop("body_from_world")
        if line["camera"] == "left":
            assert body is None
        else:
            np.testing.assert_array_equal(body, np.array(FRONT) @ line["cam_from_world"])
    for name, expected in alone.items():
        found = [line for line in both if line["camera"] == name]
        assert [{k: v for k, v in line.items() if k != "camera"} for line in found] == expected
    tum = [*common, str(tmp_path / "both.tum"), "--rig", str(rig)]
    assert main(tum) == 1
    assert "poses of several cameras go where" in capsys.readouterr().err
    check_recordings_and_pictures(common, rig, alone, tmp_path)
    check_budget_of_both(common, rig, capsys)


def check_recordings_and_pictures(
    common: list[str], rig: Path, alone: dict[str, list[dict[str, Any]]], folder: Path
) -> None:
    """Each camera has files of its own; a recording of one runs again without the rig."""
    pytest.importorskip("mcap")
    files = ["--record", str(folder / "flight"), "--record-at-end", "--picture"]
    options = [*files, str(folder / "seen.png"), "--rig", str(rig)]
    assert main([*common, str(folder / "c.jsonl"), *options]) == 0
    assert {path.name for path in folder.glob("seen*")} == {"seen_front.png", "seen_left.png"}
    for name, expected in alone.items():
        (recording,) = (folder / "flight" / name).iterdir()
        again = str(folder / f"{name}_again.jsonl")
        assert main(["--replay", str(recording), "--output", again]) == 0
        assert lines(Path(again)) == expected


def check_budget_of_both(common: list[str], rig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is enough for either camera and not for both is refused, with the table."""
    bundle, settings = open_bundle(Path(common[1])), Settings(method="exhaustive")
    one = plan_footprint(bundle, read_camera(demo_folder() / "camera.json"), settings)
    further = sum(row.nbytes for row in one.of_a_further_one)
    assert 4 * MIB < further < one.nbytes
    for enough, code in ((further / 2, 1), (further + QUEUE_BYTES + 64 * MIB, 0)):
        size = str(int(libraries_bytes() + one.nbytes + enough))
        capsys.readouterr()
        options = ["--rig", str(rig), "--budget", size, "--frames", "1"]
        assert main([*common[:-1], *options]) == code
        error = capsys.readouterr().err
        assert ("other cameras" in error and "too many" in error) is (code == 1)


def test_a_second_source_is_refused_and_told_of_rigs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--source", "0", "--source", "1"])
    assert "--source is given twice; 'edge-reloc run --rig'" in capsys.readouterr().err


CAMERA = {"name": "a", "source": "0"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", "not a rig file"),
        ([], "expected {"),
        ({"cameras": []}, "one to 16 objects"),
        ({"cameras": [CAMERA], "more": 1}, "expected {"),
        ({"cameras": [{"name": "a"}]}, "camera 1: expected an object with name and source"),
        ({"cameras": [{**CAMERA, "lens": 1}]}, "camera 1: expected an object"),
        ({"cameras": [{**CAMERA, "source": 0}]}, "source: found 0, expected text"),
        ({"cameras": [CAMERA, CAMERA]}, "the same name; found a, a"),
        ({"cameras": [{**CAMERA, "name": "../a"}]}, "name: found '../a', expected letters"),
        ({"cameras": [{**CAMERA, "body_from_cam": [[1]]}]}, "four rows of four numbers"),
        ({"cameras": [{**CAMERA, "body_from_cam": "x"}]}, "four rows of four numbers"),
        (
            {"cameras": [{**CAMERA, "body_from_cam": np.diag([1, 1, -1, 1]).tolist()}]},
            "a rotation",
        ),
        (
            {"cameras": [{**CAMERA, "body_from_cam": np.diag([1, 1, 1.01, 1]).tolist()}]},
            "a rotation",
        ),
    ],
)
def test_rig_files_that_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    path = tmp_path / "rig.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError) as raised:
        read_rig(path)
    assert words in str(raised.value) and str(path) in str(raised.value)


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, served = Turns(), list[int]()

    def take(number: int) -> None:
        with turns.mine():
            served.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    with turns.mine():
        for number, thread in enumerate(threads, 2):
            thread.start()
            while turns._given < number:
                time.sleep(0.001)
        assert served == []
    for thread in threads:
        thread.join(WAIT_S)
    assert served == list(range(8))


def test_a_signal_stops_all_cameras() -> None:
    stop = threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    with _stopped_by_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(WAIT_S)
    assert signal.getsignal(signal.SIGTERM) is before
