"""Addresses of sinks: schemes, options, rates, mounts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import CameraError, ConfigError, MissingPackageError
from edge_reloc.geometry.camera import Camera, read_camera, write_camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.mount import read_mount
from edge_reloc.sinks import look, open_sink
from edge_reloc.sinks.news import Newsreel
from edge_reloc.sinks.options import above_zero, split_options
from edge_reloc.sinks.rate import RateLimited, at_most
from edge_reloc.structs import PoseEstimate, State, Status


class Taken:
    def __init__(self) -> None:
        self.t_ms: list[float] = []

    def write(self, estimate: PoseEstimate) -> None:
        self.t_ms.append(estimate.t_ns / 1e6)

    def close(self) -> None: ...


def at(t_ms: float, state: State = State.TRACKING) -> PoseEstimate:
    return PoseEstimate(t_ns=round(t_ms * 1e6), status=Status.OK, state=state)


def test_a_rate_keeps_its_beat_and_lets_changes_through() -> None:
    taken = Taken()
    sink = RateLimited(taken, 10.0)
    for frame in range(10):  # at 30 Hz
        sink.write(at(frame * 100 / 3))
    assert taken.t_ms == pytest.approx([0, 100, 200, 300], abs=0.01)
    sink.write(at(320, State.LOST))
    assert taken.t_ms[-1] == 320
    sink.write(at(5, State.LOST))  # the clock was put back
    assert taken.t_ms[-1] == 5
    assert sink.left_out == 6


def test_a_rate_leaves_looks_alone() -> None:
    class Draws(Taken):
        looks_hz = 4.0

        def draw(self, seen: look.Look) -> None: ...

    limited = at_most(Draws(), 1.0)
    assert isinstance(limited, look.Draws) and limited.looks_hz == 4.0
    assert not isinstance(at_most(Taken(), 1.0), look.Draws)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nonsense:here", "'nonsense' is no kind of receiver"),
        ("poses.nonsense", "no format is known by the suffix '.nonsense'"),
    ],
)
def test_addresses_that_nothing_takes(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_sink(address)


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("run.mcap", "mcap.writer", "recording"),
        ("foxglove:0", "foxglove", "foxglove"),
        ("run.rrd", "rerun", "rerun"),
    ],
)
def test_receivers_whose_package_is_missing(
    address: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=rf"pip install 'edge-reloc\[{extra}\]'"):
        open_sink(address)
    assert not list(tmp_path.iterdir())


def test_a_line_for_each_change_of_state_and_each_jump() -> None:
    newsreel = Newsreel()
    first = newsreel.of(at(0, State.SEARCHING))
    assert first is not None and first.text == "SEARCHING" and not first.good and first.changed
    assert newsreel.of(at(1, State.SEARCHING)) is None
    second = newsreel.of(at(2, State.TRACKING))
    assert second is not None and second.good
    jump = newsreel.of(replace(at(3, State.TRACKING), reset_counter=1))
    assert jump is not None and not jump.good and not jump.changed
    assert jump.text == "TRACKING; the poses jumped (reset_counter 1)"


def test_options_of_an_address() -> None:
    known = {"rate": above_zero, "name": str}
    assert split_options("udp://a:1", known) == ("udp://a:1", {})
    assert split_options("a?rate=2&name=b", known) == ("a", {"rate": 2.0, "name": "b"})
    for address in ("a?rate=0", "a?rate=x", "a?speed=1", "a?rate"):
        with pytest.raises(ConfigError, match=r"a\?"):
            split_options(address, known)


def test_a_camera_file_keeps_its_mount(tmp_path: Path) -> None:
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
    mounted = camera.mounted(MOUNTS["front"])
    write_camera(tmp_path / "camera.json", mounted)
    again = read_camera(tmp_path / "camera.json")
    assert again == mounted and hash(again) == hash(mounted)
    np.testing.assert_array_equal(again.scaled_to(32, 24).mount, MOUNTS["front"])
    assert camera.mount is None and "body_from_cam" not in camera.to_dict()
    mirrored = MOUNTS["front"] @ np.diag([-1.0, 1, 1, 1])
    with pytest.raises(CameraError, match="body_from_cam: expected four rows"):
        camera.mounted(mirrored)


def test_mounts(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mount("nadir"), MOUNTS["nadir"])
    rows = MOUNTS["front"].tolist()
    for values in (rows, {"body_from_cam": rows}):
        (tmp_path / "mount.json").write_text(json.dumps(values))
        np.testing.assert_array_equal(read_mount(str(tmp_path / "mount.json")), MOUNTS["front"])
    (tmp_path / "mount.json").write_text("[[1]]")
    with pytest.raises(ConfigError, match="expected four rows"):
        read_mount(str(tmp_path / "mount.json"))
    with pytest.raises(ConfigError, match="a mount is front, nadir or a JSON file"):
        read_mount("sideways")
