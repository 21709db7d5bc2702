"""Sinks: what is written can be read back, and half lines never stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.rigid import camera_centre, compose, invert, rotation_from_quat, so3_exp
from edge_reloc.sinks import open_sink
from edge_reloc.structs import PoseEstimate, Status

TUM_POSITION_M = 1e-6  # six decimals are written
TUM_ROTATION = 1e-8  # nine decimals of a quaternion


def located(index: int) -> PoseEstimate:
    cam_from_world = compose(so3_exp([0.1 * index, 2.0, -0.3]), [1.0, -2.0, 0.5 * index])
    return PoseEstimate(
        t_ns=1_732_000_000_123_456_789 + index,
        status=Status.OK,
        cam_from_world=cam_from_world,
        covariance=np.diag([1e-6, 2e-6, 3e-6, 1e-4, 2e-4, 3e-4]),
        inliers=214,
        candidates=1803,
        index=index,
        name=f"{index:06d}.jpg",
        stages_ms={"extract": 12.3456, "solve": 1.0},
    )


def lost(index: int) -> PoseEstimate:
    return PoseEstimate(
        t_ns=index, status=Status.NO_MATCHES, reason="3 matches", index=index, name="x"
    )


def test_jsonl_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    estimates = [located(0), lost(1), located(2)]
    sink = open_sink(path)
    for estimate in estimates:
        sink.write(estimate)
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 3
    for line, estimate in zip(lines, estimates, strict=True):
        assert set(line) == {
            "frame",
            "name",
            "t_ns",
            "received_ns",
            "age_ms",
            "status",
            "reason",
            "state",
            "state_reason",
            "reset_counter",
            "propagated",
            "tracked",
            "cam_from_world",
            "covariance",
            "hpl_m",
            "vpl_m",
            "ypl_deg",
            "p_right",
            "inliers",
            "candidates",
            "stages_ms",
        }
        assert (line["frame"], line["name"], line["t_ns"]) == (
            estimate.index,
            estimate.name,
            estimate.t_ns,
        )
        assert Status(line["status"]) is estimate.status
        if estimate.cam_from_world is None:
            assert line["cam_from_world"] is None and line["covariance"] is None
            assert line["reason"] == "3 matches"
        else:  # every bit of a float64 survives JSON
            np.testing.assert_array_equal(line["cam_from_world"], estimate.cam_from_world)
            np.testing.assert_array_equal(line["covariance"], estimate.covariance)
            assert line["stages_ms"] == {"extract": 12.346, "solve": 1.0}


def test_tum_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "poses.tum"
    sink = open_sink(path)
    for estimate in (located(0), lost(1), located(2)):
        sink.write(estimate)
    sink.close()
    rows = [line.split() for line in path.read_text().splitlines()]
    assert len(rows) == 2  # the lost frame has no line
    for row, estimate in zip(rows, (located(0), located(2)), strict=True):
        seconds, nanoseconds = row[0].split(".")
        assert int(seconds) * 1_000_000_000 + int(nanoseconds) == estimate.t_ns
        x, y, z, qx, qy, qz, qw = (float(word) for word in row[1:])
        world_from_cam = compose(rotation_from_quat([qw, qx, qy, qz]), [x, y, z])
        assert estimate.cam_from_world is not None
        np.testing.assert_allclose(
            [x, y, z], camera_centre(estimate.cam_from_world), atol=TUM_POSITION_M
        )
        np.testing.assert_allclose(
            world_from_cam[:3, :3], invert(estimate.cam_from_world)[:3, :3], atol=TUM_ROTATION
        )


def test_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\.csv'; expected \.jsonl, \.tum"):
        open_sink(tmp_path / "poses.csv")
    assert not (tmp_path / "poses.csv").exists()


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a pose leaves whole poses only."""
    path = tmp_path / "poses.jsonl"
    sink = open_sink(path)
    sink.write(located(0))
    stream = sink._file._stream  # type: ignore[attr-defined]

    class Filling:
        """Takes 100 bytes, then nothing."""

        full = False

        def write(self, data: memoryview) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            self.full = True
            return int(stream.write(data[:100]))

        def __getattr__(self, name: str) -> object:
            return getattr(stream, name)

    monkeypatch.setattr(sink._file, "_stream", Filling())  # type: ignore[attr-defined]
    with pytest.raises(SinkError, match="No space left"):
        sink.write(located(1))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0]
