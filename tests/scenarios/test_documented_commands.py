"""Every command that README and docs show is one that the programs take."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from edge_reloc import __main__ as programs
from edge_reloc.running.demo import DEMO

ROOT = Path(__file__).parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]

#: what a command becomes so that it runs here: another source, or less of everything
INSTEAD = {
    "--camera 0": "--source photos/",
    "--budget 256MiB": "--budget 2GiB",  # torch is here too
    "--frames 320": "",
    "--frames 1000": "",
    "--seconds 600": "",
    "shm:head": f"shm:edge_reloc_docs_{os.getpid()}",
}
SHORTER = {
    "run": "--frames 2",
    "profile": "--frames 3 --warm-up 1",
    "evaluate --adversarial": "--tries 1 --methods cells+2+t",
    "export onnx --map": "--count 1 --photos photos/",
    "export onnx --demo": "--count 1",
    "export parity": "--every 40 --no-layers --methods cells",
}

#: commands of our programs that are parsed but not run, by their beginning, and why
ONLY_PARSED = {
    "map --images": "minutes of SfM: tests/unit/test_mapping_*.py",
    "evaluate --threads 1 --scene out/ours": "needs the developers' photos, mapped twice",
    "map --weights": "needs a training",
    "train ": "minutes: test_landmark_program.py, test_scene_coordinate_program.py",
    "train-features": "hours",
    "run --source": "needs a camera or a stream: test_streams.py, tests/unit/test_v4l2.py",
    "calibrate --source": "needs a camera: tests/unit/test_calib.py plays it a video",
    "calibrate --board": "needs photos of a board: tests/unit/test_calib.py draws them",
    "calibrate --import": "needs another program's file: test_calib_formats.py writes them",
    "calibrate --calibration camera.json --export": "needs PyYAML's files: test_calib_formats.py",
    "calibrate --mount": "needs a flight: test_calib_mount.py makes one",
    "export engine --map maps/office": "needs a GPU, or tensorrt_rtx: tests/unit/test_engines.py",
    "export engine --map demo16": "needs tensorrt_rtx: tests/unit/test_engines.py",
    "sign --map": "needs a key: tests/unit/test_signing.py",
    "run --map maps/office --require-signed": "needs a signed map: tests/unit/test_signing.py",
    "run --map maps/office --rig": "needs a rig file: test_rig.py",
    "doctor --autopilot px4 --link": "needs an autopilot: tests/unit/test_doctor_autopilot.py",
    "run --replay flight/": "needs a recording: test_replay.py",
    "bench --dataset": "needs a data set: test_bench_program.py lays one out",
    "update --map": "needs a mapping and photos of later: tests/unit/test_updating.py",
    "apply --map": "needs a delta: tests/unit/test_delta.py",
    "diff maps/office": "needs two maps: tests/unit/test_updating.py",
    "combine --merge": "needs two mappings: tests/unit/test_updating.py",
    "combine --tiles": "needs several maps of one world: test_tiles_program.py cuts some",
    "inspect maps/city": "needs a map of tiles: test_tiles_program.py",
    "run --map maps/city": "the same",
    "align --map": "needs what was measured of the place: tests/unit/test_align_program.py",
    "run --map maps/office --camera 0 --calibration camera.json --mount front":
        "needs ROS 2: tests/unit/test_ros2.py has its messages",
    "run --demo --output rerun:": "starts a window: tests/unit/test_rerun_sink.py",
    "run --map maps/office --camera 0 --calibration camera.json --output foxglove:":
        "takes a port: tests/unit/test_foxglove_sink.py",
    "coverage --map": "needs the work folder of a mapping: tests/unit/test_forecast.py",
    "export prune": "needs the work folder of a mapping: test_landmark_program.py",
    "run --map maps/office --calibration camera.json --output poses.jsonl --source gst:":
        "needs GStreamer",
    "run --map maps/office --calibration camera.json --output poses.jsonl --source csi:":
        "needs a Jetson",
    "profile --demo --frames 320 --assert": "its conditions need all frames: "
        "test_profile_program.py",
}  # fmt: skip

#: commands of other programs, by their beginning
OTHERS = (
    *("python3 -m venv", "pip install", ". .venv", "source .venv", "export 'PATH=", ".ci/run"),
    *("kill -USR1 ", "sudo ", "git clone", "cd ", "rsync", "python -m pytest", "cyclonedx-py "),
    "python -m edge_reloc_export.integrity.fit",  # test_plausibility.py asks it
    "python -m edge_reloc_export.integrity.budget",  # test_left_out.py asks it
    *("gcc -O2 -I edge_reloc/sinks", "./read_poses"),  # tests/unit/test_shm.py
)


def documented() -> Iterator[tuple[str, str]]:
    """Page and command, of each fenced bash block; a command may go on over lines."""
    for page in PAGES:
        for block in page.read_text(encoding="utf-8").split("```bash\n")[1:]:
            lines = block.split("\n```")[0].replace("\\\n", " ").splitlines()
            while lines:
                command = lines.pop(0)
                while command.count('"') % 2:
                    command += " " + lines.pop(0)
                words = shlex.split(command, comments=True)
                groups = itertools.groupby(words, lambda word: word == "&&")
                yield from ((page.name, shlex.join(part)) for last, part in groups if not last)


COMMANDS = list(dict.fromkeys(command for _, command in documented()))


def of_ours(command: str) -> list[str] | None:
    """Arguments of `edge-reloc`, or None for a command of another program."""
    words = shlex.split(command)
    if words[0] == "edge-reloc":
        return words[1:]
    if words[:2] == ["python", "-m"] and words[2].startswith("edge_reloc."):
        return [words[2].removeprefix("edge_reloc."), *words[3:]]
    return None


OURS = [command for command in COMMANDS if of_ours(command) is not None]
BENCHMARKS = [command for command in COMMANDS if command.startswith("python tests/benchmarks/")]


def only_parsed(command: str) -> bool:
    return " ".join(of_ours(command) or ()).startswith(tuple(ONLY_PARSED))


class Parsed(BaseException):
    """The program has read its options."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Runs a program until its own parser has taken the options, and no further."""
    whole = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: Any, **more: Any) -> None:
        whole(self, *given, **more)
        raise Parsed

    def call(program: Callable[[], Any]) -> None:
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        with pytest.raises(Parsed):
            program()

    return call


@pytest.fixture
def world(demo16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user whom the docs speak to, made of the demo."""
    shutil.copytree(demo16, tmp_path / "maps" / "office")
    shutil.copy(DEMO / "camera.json", tmp_path)
    frames = sorted((DEMO / "frames").iterdir())[:4:2]
    (tmp_path / "photos").mkdir()
    (tmp_path / "scene").mkdir()
    for frame in frames:
        (tmp_path / "photos" / frame.name).symlink_to(frame)
    (tmp_path / "scene" / "images").symlink_to(tmp_path / "photos")
    (tmp_path / "scene" / "reference").symlink_to(DEMO / "truth")
    (tmp_path / "scene" / "queries.txt").write_text("".join(f"{f.name}\n" for f in frames))
    images = [cv2.imread(str(frame)) for frame in frames]
    size = images[0].shape[1::-1]
    flight = cv2.VideoWriter(
        str(tmp_path / "flight.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, size
    )
    for image in images * 2:
        flight.write(image)
    flight.release()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [c for c in OURS if only_parsed(c)])
def test_command_is_understood(
    command: str, parse_only: Callable[[Callable[[], Any]], None]
) -> None:
    parse_only(lambda: programs.main(of_ours(command)))


@pytest.mark.parametrize("command", BENCHMARKS)
def test_benchmark_is_understood(
    command: str,
    parse_only: Callable[[Callable[[], Any]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, path, *arguments = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    monkeypatch.syspath_prepend(str((ROOT / path).parent))  # as of a program that is started
    parse_only(runpy.run_path(str(ROOT / path))["main"])


@pytest.mark.parametrize("command", [c for c in OURS if not only_parsed(c)])
def test_command_runs(command: str, world: Path, demo16: Path) -> None:
    if "--map demo16" in command:
        shutil.copytree(demo16, world / "demo16")
    text = " ".join(shlex.quote(word) for word in of_ours(command) or [])
    for here, instead in INSTEAD.items():
        text = text.replace(here, instead)
    for program, more in SHORTER.items():
        text += f" {more}" if text.startswith(f"{program} ") else ""
    assert programs.main(shlex.split(text)) == 0
    Path("/dev/shm", INSTEAD["shm:head"].removeprefix("shm:")).unlink(missing_ok=True)


def test_every_other_command_is_known() -> None:
    others = [command for command in COMMANDS if command not in OURS + BENCHMARKS]
    assert [command for command in others if not command.startswith(OTHERS)] == []
    assert len(OURS) > 20, "commands are no longer found in the pages"


def test_tables_name_no_command_that_is_gone() -> None:
    shown = [" ".join(of_ours(command) or ()) for command in OURS]
    for start in ONLY_PARSED:
        assert any(text.startswith(start) for text in shown), start
    for part in INSTEAD:
        assert any(part in text for text in shown), part
    assert all(importlib.util.find_spec(p.module) for p in programs.PROGRAMS.values())
