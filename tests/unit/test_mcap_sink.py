"""MCAP files of a run: read back by the MCAP library, held against Foxglove's own schemas."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap")
from mcap.exceptions import EndOfFile
from mcap.reader import NonSeekingReader, make_reader
from small_files import no_file_above
from viewed_run import CAMERA, FACTS, LOST, ORIGIN, PERIOD_NS, SIGMA_M, XYZ, estimate, look

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.rigid import compose, invert, rotation_from_quat
from edge_reloc.messages.channel import Channel
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.look import Draws
from edge_reloc.sinks.run_messages import CHANNELS

FRAMES = 8
METRES_PER_DEGREE = 111_200  # of latitude, to a thousandth

Found = dict[str, list[tuple[int, dict[str, Any]]]]


def write(path: Path, frames: int = FRAMES) -> None:
    sink = open_sink(path, FACTS)
    assert isinstance(sink, Draws)
    for index in range(frames):
        sink.write(estimate(index))
        sink.draw(look(index))
    sink.close()
    sink.close()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Messages by topic, each as its schema says."""
    path = tmp_path_factory.mktemp("run") / "run.mcap"
    write(path)
    messages: Found = {}
    with path.open("rb") as stream:
        reader = make_reader(stream)
        for schema, channel, message in reader.iter_messages():
            assert schema is not None and schema.encoding == "jsonschema"
            told, content = json.loads(message.data), json.loads(schema.data)
            assert set(content["required"]) <= set(told) <= set(content["properties"])
            messages.setdefault(channel.topic, []).append((message.log_time, told))
        (about,) = reader.iter_metadata()
    assert about.metadata["map"] == "yard" and about.metadata["source"] == "here"
    return messages


def matrix(transform: dict[str, Any]) -> np.ndarray:
    """Parent from child."""
    xyz = [transform["translation"][axis] for axis in "xyz"]
    return compose(rotation_from_quat([transform["rotation"][axis] for axis in "wxyz"]), xyz)


def test_every_channel_has_messages_at_capture_time(found: Found) -> None:
    assert set(found) == {channel.topic for channel in CHANNELS}
    with_pose = [index * PERIOD_NS for index in range(FRAMES) if index != LOST]
    for topic in ("/camera/pose", "/tf", "/location"):
        assert [t_ns for t_ns, _ in found[topic]] == with_pose
    assert [t_ns for t_ns, _ in found["/camera/image"]] == [i * PERIOD_NS for i in range(FRAMES)]
    lines = [line for _, line in found["/edge_reloc/estimate"]]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert lines[0]["age_ms"] == 12.5 and lines[0]["stages_ms"] == {"extract": 3.5}
    assert [(m["level"], m["message"]) for _, m in found["/edge_reloc/log"]] == [
        (2, "TRACKING"),
        (3, "LOST: DARK"),
        (2, "TRACKING"),
    ]


def test_frames_of_reference_lead_to_the_camera(found: Found) -> None:
    fixed = {m["child_frame_id"]: m for _, m in found["/tf_static"]}
    assert [(m["parent_frame_id"], child) for child, m in fixed.items()] == [
        ("level", "map"),
        ("body", "camera"),
    ]
    told = found["/tf"][2][1]
    assert (told["parent_frame_id"], told["child_frame_id"]) == ("map", "body")
    expected = estimate(2).cam_from_world
    assert expected is not None
    map_from_camera = matrix(told) @ matrix(fixed["camera"])
    np.testing.assert_allclose(map_from_camera, invert(expected), atol=1e-9)
    pose = found["/camera/pose"][2][1]["pose"]
    told_pose = {"translation": pose["position"], "rotation": pose["orientation"]}
    np.testing.assert_allclose(matrix(told_pose), invert(expected), atol=1e-9)


def test_places_on_earth(found: Found) -> None:
    """Of the body; the covariance is east, north, up."""
    where, moved = found["/location"][1][1], matrix(found["/tf"][1][1])[:3, 3]
    north_m = (where["latitude"] - ORIGIN["latitude_deg"]) * METRES_PER_DEGREE
    assert north_m == pytest.approx(moved[1], rel=2e-3)
    assert where["altitude"] - ORIGIN["altitude_m"] == pytest.approx(moved[2], abs=1e-3)
    covariance = np.reshape(where["position_covariance"], (3, 3))
    assert where["position_covariance_type"] == 3
    # A turn of the camera moves the body, 0.22 m from it, by micrometres here.
    expected = np.sort(np.square(SIGMA_M))
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), expected, rtol=1e-3)


def test_images_and_what_was_found_in_them(found: Found) -> None:
    jpeg = base64.b64decode(found["/camera/image"][1][1]["data"])
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (48, 64)
    assert np.abs(image.astype(int) - look(1).image).mean() < 3
    keypoints, inliers = found["/camera/features"][1][1]["points"]
    for told, expected in ((keypoints, look(1).xy_px), (inliers, look(1).inlier_xy_px)):
        xy = [[point["x"], point["y"]] for point in told["points"]]
        # Foxglove counts from the corner of the first pixel; to tenths of a pixel.
        np.testing.assert_allclose(xy, expected + 0.5, atol=0.051)
    calibration = found["/camera/calibration"][0][1]
    assert calibration["K"][:3] == [CAMERA.fx, 0.0, CAMERA.cx]
    cloud = found["/map/points"][0][1]
    xyz = np.frombuffer(base64.b64decode(cloud["data"]), "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(xyz, XYZ)
    assert len(found["/map/points"]) == 1


def test_the_path_is_not_joined_across_a_frame_without_a_pose(found: Found) -> None:
    pieces = {m["entities"][0]["id"]: m["entities"][0]["lines"] for _, m in found["/camera/path"]}
    assert list(pieces) == ["path 0", "path 1"]
    first = [[p[axis] for axis in "xyz"] for p in pieces["path 0"][0]["points"]]
    poses = [estimate(index).cam_from_world for index in range(LOST)]
    centres = [invert(pose)[:3, 3] for pose in poses if pose is not None]
    np.testing.assert_allclose(first, centres[: len(first)], atol=1e-9)
    assert len(first) >= 3


FOXGLOVES = [channel for channel in CHANNELS if channel.schema_name.startswith("foxglove.")]


@pytest.mark.parametrize("channel", FOXGLOVES, ids=lambda channel: channel.topic)
def test_fields_are_those_of_foxglove(channel: Channel) -> None:
    """By the descriptors in Foxglove's own library."""
    channels = pytest.importorskip("foxglove.channels", reason="pip install foxglove-sdk")
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    kind = channel.schema_name.removeprefix("foxglove.")
    schema = getattr(channels, f"{kind}Channel")(f"/as{channel.topic}").schema()
    files = descriptor_pb2.FileDescriptorSet.FromString(schema.data).file
    known = {
        f".{file.package}.{message.name}": {field.name: field for field in message.field}
        for file in files
        for message in file.message_type
    }
    types = {
        "number": {1, 2},  # double, float
        "integer": {7, 13, 14},  # fixed32, uint32, enumeration
        "boolean": {8},
        "string": {9, 12},  # string, bytes
        "object": {11},
    }

    def check(schema: dict[str, Any], name: str) -> None:
        assert known.get(name) is not None, name
        for field, told in schema["properties"].items():
            theirs = known[name][field]
            assert (told["type"] == "array") == (theirs.label == 3), field
            single = told["items"] if told["type"] == "array" else told
            assert theirs.type in types[single["type"]], field
            assert ("contentEncoding" in single) == (theirs.type == 12), field
            if single.get("title", "").startswith("foxglove."):
                assert theirs.type_name == f".{single['title']}"
                check(single, theirs.type_name)

    check(channel.schema, f".foxglove.{kind}")


def readable(path: Path) -> Iterator[tuple[str, int]]:
    """Topics and times of what a reader finds that begins at the front."""
    with path.open("rb") as stream:
        try:
            for _, channel, message in NonSeekingReader(stream).iter_messages(log_time_order=False):
                yield channel.topic, message.log_time
        except EndOfFile:
            return


def test_a_kill_takes_the_last_chunk_only(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    program = (
        "import os, signal, sys; from pathlib import Path; import viewed_run as v\n"
        "from edge_reloc.sinks import open_sink\n"
        f"sink = open_sink({str(path)!r}, v.FACTS)\n"
        "for i in range(200): sink.write(v.estimate(i)); sink.draw(v.look(i))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    where = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, **where})
    assert killed.returncode == -9
    times = [t_ns for topic, t_ns in readable(path) if topic == "/edge_reloc/estimate"]
    assert times == [index * PERIOD_NS for index in range(len(times))]
    assert 180 <= len(times) < 200


def test_a_full_disk_ends_it_with_one_line_and_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    sink = open_sink(path, FACTS)
    with no_file_above(30_000):
        with pytest.raises(SinkError, match=r"run.mcap: writing stopped \(File too large\)"):
            for index in range(1000):
                sink.write(estimate(index))
        sink.close()
    assert 0 < path.stat().st_size <= 30_000
    times = [t_ns for topic, t_ns in readable(path) if topic == "/edge_reloc/estimate"]
    assert len(times) > 30 and times == sorted(times)


def test_a_disk_that_is_full_at_the_end_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = open_sink(tmp_path / "run.mcap", FACTS)
    sink.write(estimate(0))
    with no_file_above(1):
        sink.close()
    assert "run.mcap: writing stopped (File too large)" in caplog.text


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "run.mcap", FACTS)
    with pytest.raises(SinkError, match="another program is writing it"):
        open_sink(f"mcap:{tmp_path / 'run.mcap'}", FACTS)
    sink.close()


def test_options_of_the_address(tmp_path: Path) -> None:
    address = f"mcap:{tmp_path / 'run.mcap'}"
    for none_of in (f"{address}?looks=0", f"{tmp_path / 'run.mcap'}?rate=10&looks=0"):
        none = open_sink(none_of)
        assert not isinstance(none, Draws)
        none.close()
    some = open_sink(f"{address}?looks=2.5&quality=30")
    assert isinstance(some, Draws) and some.looks_hz == 2.5
    some.close()
    for wrong in ("looks=-1", "quality=0", "quality=best", "colour=1"):
        with pytest.raises(ConfigError, match=r"run\.mcap\?"):
            open_sink(f"{address}?{wrong}")
