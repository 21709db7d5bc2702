"""What libraries write about damaged files stays off the terminal; our own lines do not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
from plane_world import PlaneWorld

Program = Callable[..., CompletedProcess[str]]

OURS = ("skipped ", "error: ", "WARNING: ")

IN_A_PROGRAM = """
import os, sys
from edge_reloc.command_line.program import program
from edge_reloc.command_line.terminal import silent_decoders

@program
def main(argv=None):
    with silent_decoders():
        os.write(2, b"a library\\n")
        print("ours inside", file=sys.stderr)
        with silent_decoders():
            pass
        os.write(2, b"a library again\\n")
    os.write(2, b"a library later\\n")
    print("ours outside", file=sys.stderr)
    return 0

sys.exit(main([]))
"""


@pytest.fixture
def damaged(corner: PlaneWorld, tmp_path: Path) -> Path:
    """A folder of one good photo, and of one damaged inside of each kind."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    image = cv2.imread(str(corner.frames / "000.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "a.png"), image)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    middle = len(jpeg) // 2
    (folder / "b.jpg").write_bytes(jpeg[:middle] + b"\xff\xd0\x12\x34" + jpeg[middle:])
    (folder / "c.jpg").write_bytes(jpeg[:middle] + bytes(60) + jpeg[middle + 60 :])
    png = bytearray(cv2.imencode(".png", image)[1].tobytes())
    png[2000] ^= 0xFF
    (folder / "d.png").write_bytes(png)
    (folder / "e.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing" * 9)
    for suffix in (".tiff", ".webp", ".bmp"):
        data = cv2.imencode(suffix, image)[1].tobytes()
        (folder / f"f{suffix}").write_bytes(data[: len(data) // 2])
    return folder


def foreign(text: str) -> list[str]:
    """Lines that are not ours."""
    return [line for line in text.splitlines() if not line.startswith(OURS)]


@pytest.mark.parametrize("level", [None, "SILENT"])  # by hand, or by a program around ours
def test_damaged_photos(
    edge_reloc: Program,
    corner: PlaneWorld,
    damaged: Path,
    level: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    if level:
        monkeypatch.setenv("OPENCV_LOG_LEVEL", level)
    done = edge_reloc("run", "--map", corner.bundle, "--source", damaged)
    assert done.returncode == 0, done.stderr
    assert foreign(done.stderr) == []
    for name in ("d.png", "e.png", "f.tiff"):
        assert f"skipped {name}: " in done.stderr


def test_libraries_speak_where_they_are_asked_to(
    edge_reloc: Program, corner: PlaneWorld, damaged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")
    done = edge_reloc("run", "--map", corner.bundle, "--source", damaged)
    assert foreign(done.stderr) != []


@pytest.mark.parametrize("code", ["mp4v", "MJPG"])
def test_damaged_videos(edge_reloc: Program, corner: PlaneWorld, tmp_path: Path, code: str) -> None:
    path = tmp_path / ("video.mp4" if code == "mp4v" else "video.avi")
    image = cv2.imread(str(corner.frames / "000.png"))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 20, (480, 360))
    for shift in range(12):
        writer.write(np.roll(image, 4 * shift, axis=1))
    writer.release()
    data = bytearray(path.read_bytes())
    for at in range(5000, len(data) - 8000, 3000):
        data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    call = ("run", "--no-states", "--map", corner.bundle, "--source", path)
    assert foreign(edge_reloc(*call).stderr) == []
    path.write_bytes(data[: len(data) // 3])
    assert foreign(edge_reloc(*call).stderr) == []


def test_our_own_lines_pass_while_libraries_decode() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OPENCV_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0
    lines = sorted(done.stderr.splitlines())
    assert lines == ["a library later", "ours inside", "ours outside"]


def test_outside_of_programs_nothing_is_silenced() -> None:
    script = (
        "import os\nfrom edge_reloc.command_line.terminal import silent_decoders\n"
        "with silent_decoders():\n    os.write(2, b'said')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "said"
