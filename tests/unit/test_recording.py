"""The flight recorder: what is kept, what is written, and that nothing holds it up."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap")
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from small_files import no_file_above

from edge_reloc.errors import SourceError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import camera_centre, compose, rotation_from_quat, so3_exp
from edge_reloc.reasons import Fault, Reason
from edge_reloc.recording import recorder as module
from edge_reloc.recording.channels import CHANNELS, FORMAT, VERSION
from edge_reloc.recording.recorder import FlightRecorder
from edge_reloc.recording.ring import Ring
from edge_reloc.sources import open_source
from edge_reloc.sources.recording_file import MOST_ITEMS, Recording
from edge_reloc.structs import Frame, PoseEstimate, Status

CAMERA = Camera(
    model="opencv", width=64, height=48, fx=60.1, fy=60.2, cx=31.5, cy=23.5, distortion=(0.1,)
)
IMAGE_BYTES = 64 * 48
PERIOD_NS = 33_333_333
#: what a frame may have, none of it as it is when nobody says so
FULL = {
    "name": "\udcff.jpg",  # of a file whose name holds a byte that is no text
    "received_ns": PERIOD_NS + 5,
    "quarter_turns": 3,
    "upright_turns": 1,
    "fault": Fault(reason=Reason.DARK, text="dark", since_ns=7),
    "down": np.array([0.1, 0.9, 1 / 3]),
    "odom_from_cam": np.linspace(0.1, 1.7, 16).reshape(4, 4),
}
WAIT_S = 60.0  # no test gets near it


def frame(index: int) -> Frame:
    """Noise of its own, so that no two are alike and no compression loses nothing by luck."""
    image = np.random.default_rng(index).integers(0, 256, (48, 64), np.uint8)
    return Frame(image=image, t_ns=index * PERIOD_NS, camera=CAMERA, index=index, name=f"{index}")


def estimate(index: int) -> PoseEstimate:
    found = index % 2 == 0
    return PoseEstimate(
        t_ns=index * PERIOD_NS,
        status=Status.OK if found else Status.NO_POSE,
        reason=None if found else "too few",
        cam_from_world=compose(so3_exp([0.1, 0.2, 0.3]), [index, 2.0, 1 / 3]) if found else None,
        index=index,
        keypoints=100 + index,
    )


def filled(ring: Ring, count: int) -> Ring:
    for index in range(count):
        ring.add(frame(index), estimate(index), {"before": index})
    return ring


def indices(ring: Ring) -> list[int]:
    return [entry.frame.index for entry in ring.read()]


def test_a_ring_keeps_the_newest_whole() -> None:
    ring = filled(Ring(5 * IMAGE_BYTES + 100, seconds=60.0), 18)
    entries = list(ring.read())
    assert [e.frame.index for e in entries] == [13, 14, 15, 16, 17]
    assert ring.missed == 0
    for entry in entries:
        np.testing.assert_array_equal(entry.frame.image, frame(entry.frame.index).image)
        assert entry.recalled == {"before": entry.frame.index}


def test_a_ring_keeps_so_many_seconds() -> None:
    assert indices(filled(Ring(50 * IMAGE_BYTES, seconds=0.1), 18)) == [14, 15, 16, 17]


def test_frames_of_many_sizes_lie_in_one_ring() -> None:
    """Against a plain list, over several times around."""
    ring = Ring(4 * IMAGE_BYTES, seconds=600.0)
    generator = np.random.default_rng(3)
    frames = []
    for index in range(60):
        height, width = generator.integers(16, 48, 2)
        image = generator.integers(0, 256, (height, width, 3)[: 2 + index % 2], np.uint8)
        frames.append(Frame(image=image, t_ns=index, index=index))
        ring.add(frames[-1], estimate(index), {})
        kept = list(ring.read())
        assert [e.frame.index for e in kept] == list(range(index + 1 - len(kept), index + 1))
        for entry in kept:
            np.testing.assert_array_equal(entry.frame.image, frames[entry.frame.index].image)


def test_what_is_read_stays_and_new_frames_leave_a_gap() -> None:
    ring = filled(Ring(4 * IMAGE_BYTES, seconds=60.0), 4)
    reading = ring.read()
    assert next(reading).frame.index == 0
    ring.add(frame(4), estimate(4), {})
    assert ring.missed == 1
    assert next(reading).frame.index == 1  # gives the place of the first one free
    ring.add(frame(5), estimate(5), {"before": 5})
    assert [entry.frame.index for entry in reading] == [2, 3]
    entries = list(ring.read())
    assert [e.frame.index for e in entries] == [1, 2, 3, 5]
    assert [e.after_gap for e in entries] == [False, False, False, True]


def session() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "map": {"name": "hall", "path": "/maps/hall", "manifest_sha256": "0" * 64},
        "camera": CAMERA.to_dict(),
        "settings": {},
        "machine": {},
        "states": True,
        "filtered": False,
    }


def recorder_of(folder: Path, ring: Ring, told: list[str]) -> FlightRecorder:
    return FlightRecorder(folder, ring, session(), lambda: {"now": [1.5]}, told.append)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Five frames, the second of them faulty."""
    ring, told = Ring(5 * IMAGE_BYTES, seconds=60.0), list[str]()
    recorder = recorder_of(tmp_path, ring, told)
    for index in range(5):
        recorder.before_frame()
        recorder.add(replace(frame(index), **(FULL if index == 1 else {})), estimate(index))
    recorder.request("asked")
    recorder.close()
    (path,) = recorder.files
    assert told == [f"recorded {path}: 5 frames, {path.stat().st_size / 1e6:.1f} MB, asked"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    return path


def test_frames_come_back_to_the_bit(recorded: Path) -> None:
    source = open_source(recorded)
    assert (source.width, source.height, source.live) == (64, 48, False)
    for _ in range(2):
        frames = list(source)
        assert [f.index for f in frames] == [0, 1, 2, 3, 4]
        for found in frames:
            expected = replace(frame(found.index), **(FULL if found.index == 1 else {}))
            np.testing.assert_equal(vars(found), vars(expected))
    for entry in fields(Frame):  # or one that is new is not recorded
        assert entry.default is MISSING or getattr(frames[1], entry.name) is not entry.default
    other = Camera(model="pinhole", width=128, height=96, fx=50, fy=50, cx=64, cy=48)
    assert next(iter(open_source(recorded, other))).camera == other.scaled_to(64, 48)


def test_other_tools_read_a_recording(recorded: Path) -> None:
    """By the MCAP library's own reader, and by the schemas that the file carries."""
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    with open(recorded, "rb") as stream:
        for schema, channel, message in make_reader(stream).iter_messages():
            assert schema is not None and schema.encoding == "jsonschema"
            told = json.loads(schema.data)
            content = json.loads(message.data)
            assert told["title"] == schema.name and set(told["required"]) <= set(content)
            assert not told["properties"] or set(content) <= set(told["properties"])
            found.setdefault(channel.topic, []).append((message.log_time, content))
    assert set(found) == {channel.topic for channel in CHANNELS}
    images = found["/camera/image"]
    assert [t for t, _ in images] == [index * PERIOD_NS for index in range(5)]
    import base64

    png = np.frombuffer(base64.b64decode(images[3][1]["data"]), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), frame(3).image)
    assert images[3][1]["timestamp"] == {"sec": 0, "nsec": 3 * PERIOD_NS}
    poses = found["/camera/pose"]
    assert [t for t, _ in poses] == [0, 2 * PERIOD_NS, 4 * PERIOD_NS]
    pose = poses[1][1]["pose"]
    expected = estimate(2).cam_from_world
    assert expected is not None
    np.testing.assert_allclose(
        [pose["position"][axis] for axis in "xyz"], camera_centre(expected), atol=1e-12
    )
    np.testing.assert_allclose(
        rotation_from_quat([pose["orientation"][axis] for axis in "wxyz"]),
        expected[:3, :3].T,
        atol=1e-12,
    )
    ((_, calibration),) = found["/camera/calibration"]
    assert calibration["K"] == [60.1, 0, 31.5, 0, 60.2, 23.5, 0, 0, 1]
    assert calibration["D"][0] == 0.1 and len(calibration["D"]) == 8
    assert [e["keypoints"] for _, e in found["/edge_reloc/estimate"]] == list(range(100, 105))


def test_a_disk_that_is_full_is_one_line(tmp_path: Path) -> None:
    told: list[str] = []
    recorder = recorder_of(tmp_path, Ring(20 * IMAGE_BYTES, seconds=60.0), told)
    for index in range(20):
        recorder.add(frame(index), estimate(index))
    with no_file_above(20_000):
        recorder.request("full")
        deadline = time.monotonic() + WAIT_S
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(told) == 1 and "cannot be written (File too large)" in told[0]
    recorder.add(frame(20), estimate(20))
    recorder.request("after")
    recorder.close()
    assert [p.name for p in tmp_path.iterdir()] == [recorder.files[0].name]
    assert [f.index for f in open_source(recorder.files[0])] == list(range(1, 21))


def test_a_disk_that_blocks_holds_up_no_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, go = threading.Event(), threading.Event()
    write = module.write_recording

    def slow(path: Path, session: dict[str, Any], entries: Iterator[Any]) -> int:
        first = next(entries)
        blocked.set()
        assert go.wait(WAIT_S)
        return write(path, session, (first, *entries))

    monkeypatch.setattr(module, "write_recording", slow)
    told: list[str] = []
    recorder = recorder_of(tmp_path, Ring(4 * IMAGE_BYTES, seconds=60.0), told)
    for index in range(4):
        recorder.add(frame(index), estimate(index))
    recorder.request("asked")
    assert blocked.wait(WAIT_S)
    for index in range(4, 10):
        recorder.add(frame(index), estimate(index))
        recorder.request("again")
    go.set()
    recorder.close()
    assert told[0].endswith("asked; 6 frames came meanwhile and are not kept")
    assert [f.index for f in open_source(recorder.files[0])] == [0, 1, 2, 3]
    assert len(recorder.files) == 2, "one recording serves all requests that waited"


def test_what_happens_by_itself_does_not_fill_the_disk(tmp_path: Path) -> None:
    told: list[str] = []
    recorder = recorder_of(tmp_path, Ring(IMAGE_BYTES, seconds=60.0), told)
    recorder.add(frame(0), estimate(0))
    for _ in range(3 * module.MOST_BY_ITSELF):
        recorder.lost()
    recorder.close()
    assert 0 < len(recorder.files) <= module.MOST_BY_ITSELF
    assert sum("times lost" in line for line in told) == 1


def hostile(path: Path, *messages: tuple[str, bytes], compression: Any = None) -> Path:
    """An MCAP file of JSON messages as they are."""
    with path.open("wb") as stream:
        writer = Writer(stream, compression=compression or CompressionType.ZSTD)
        writer.start()
        for topic, data in messages:
            channel = writer.register_channel(topic, "json", 0)
            writer.add_message(channel, 0, data, 0)
        writer.finish()
    return path


def damaged(good: Path, path: Path) -> Iterator[tuple[str, Path]]:
    """What is wrong, and a file of it."""
    whole = good.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    yield "cut off", path
    path.write_bytes(b"")
    yield "not a recording", path
    path.write_bytes(b"\x00" * 1000)
    yield "not a recording", path
    yield "it does not begin with /edge_reloc/session", hostile(path, ("/x", b"{}"))
    start = ("/edge_reloc/session", json.dumps({**session(), "reason": "x"}).encode())
    yield "holds no objects", hostile(path, ("/edge_reloc/session", b"[1]"))
    yield "damaged recording", hostile(path, ("/edge_reloc/session", b"[" * 100_000))
    many = b'{"format":[0' + b",0" * MOST_ITEMS + b"]}"  # would be 70 bytes each
    yield f"expected {MOST_ITEMS} at most", hostile(path, ("/edge_reloc/session", many))
    yield "no 'format'", hostile(path, ("/edge_reloc/session", b"{}"))
    newer = {**session(), "version": VERSION + 1}
    yield "newer than", hostile(path, ("/edge_reloc/session", json.dumps(newer).encode()))
    wide = {**session(), "reason": "x", "camera": {**CAMERA.to_dict(), "width": 10**9}}
    yield "65536", hostile(path, ("/edge_reloc/session", json.dumps(wide).encode()))
    yield "holds no frame", hostile(path, start)
    yield "compressed by 'lz4'", hostile(path, start, compression=CompressionType.LZ4)
    told = {"index": 0, "t_ns": 0, "received_ns": None, "name": "", "camera": None}
    told |= {
        "quarter_turns": None,
        "upright_turns": 0,
        "fault": None,
        "recalled": None,
        "down": None,
    }
    told |= {"shape": [1 << 20, 1 << 20]}
    _, png = cv2.imencode(".png", np.zeros((48, 64), np.uint8))
    import base64

    image = {"data": base64.b64encode(png.tobytes()).decode()}
    frame = ("/edge_reloc/frame", json.dumps(told).encode())
    pixels = ("/camera/image", json.dumps(image).encode())
    yield "an image of 64x48 pixels in a frame of shape", hostile(path, start, frame, pixels)
    for place in range(100, len(whole), len(whole) // 40):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0xFF
        path.write_bytes(spoilt)
        yield "", path
    bomb = bytearray(whole)  # the first chunk says that it holds 2^62 bytes
    chunk = whole.index(b"\x06", 8 + 9)
    bomb[chunk + 25 : chunk + 33] = (1 << 62).to_bytes(8, "little")
    path.write_bytes(bomb)
    yield f"a chunk of {1 << 62} bytes", path


def test_damaged_recordings_are_one_line(recorded: Path, tmp_path: Path) -> None:
    """A byte that was changed is noticed, or lies in what replays do not read."""
    whole = [vars(f) for f in open_source(recorded)]
    refused = 0
    for words, path in damaged(recorded, tmp_path / "damaged.mcap"):
        try:
            frames = [vars(f) for f in open_source(path)]
        except SourceError as error:
            assert words in str(error) and str(path) in str(error), str(error)
            refused += 1
            continue
        assert words == "", f"not refused: {words}"
        np.testing.assert_equal(frames, whole)
    assert refused > 30


def test_a_recording_tells_what_was_running(recorded: Path) -> None:
    recording = Recording(recorded)
    assert recording.session.map.path == Path("/maps/hall")
    assert recording.session.camera == CAMERA and recording.session.reason == "asked"
    recalled = [frame.recalled for frame in recording.frames()]
    assert recalled == [{"now": [1.5]}, None, None, None, None]
    assert [e["frame"] for e in recording.estimates()] == [0, 1, 2, 3, 4]


def test_a_signal_asks_for_a_recording(tmp_path: Path) -> None:
    from edge_reloc.running.flight import on_signal

    told: list[str] = []
    recorder = recorder_of(tmp_path, Ring(4 * IMAGE_BYTES, seconds=60.0), told)
    recorder.add(frame(0), estimate(0))
    before = signal.getsignal(signal.SIGUSR1)
    with on_signal(signal.SIGUSR1, lambda: recorder.request("signal")):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is before
    recorder.close()
    assert [path.name.split("_")[1] for path in recorder.files] == ["signal.mcap"]
