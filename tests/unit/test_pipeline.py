"""Two frames in flight: the same poses, in order, and nothing lost."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.running.demo import DEMO
from edge_reloc.running.loop import run
from edge_reloc.running.pipeline import pipeline
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.sources import open_source
from edge_reloc.structs import Frame, Localization, PoseEstimate

FRAMES = 5


class Collector:
    """A sink that keeps poses, and who brought them; it may break."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.poses: list[PoseEstimate] = []
        self.threads: set[str] = set()
        self._breaks_at = breaks_at

    def write(self, estimate: PoseEstimate) -> None:
        if len(self.poses) == self._breaks_at:
            raise SinkError("the connection is closed")
        self.poses.append(estimate)
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        """Nothing."""


def demo(in_flight: int, sink: Collector, **more: Any) -> RunStatistics:
    camera = read_camera(DEMO / "camera.json")
    settings = Settings(in_flight=in_flight, threads=1, **more)
    localizer = Localizer.open(open_bundle(DEMO / "map"), camera, settings)
    source, statistics = open_source(str(DEMO / "frames"), camera), RunStatistics()
    watched: list[int] = []

    def watch(frame: Frame, result: Localization) -> None:
        assert frame.index == result.estimate.index
        assert result.matches.n >= result.inliers  # still those of this frame
        watched.append(frame.index)

    try:
        run(localizer, source, statistics, sinks=[sink], limit=FRAMES, watch=watch)
    finally:
        source.close()
        localizer.close()
    assert watched == list(range(FRAMES))
    return statistics


@pytest.mark.parametrize(
    "tracking",
    [{}, {"tracking": True}, {"tracking": True, "search_every": 1}],
    ids=["", "tracking", "tracking, every other pose verified"],
)
@pytest.mark.parametrize(
    "method",
    [
        {},
        {"method": "exhaustive"},
        {"method": "landmarks"},
        {"method": "landmarks", "registration": "landmark_wise"},
    ],
    ids=["cells", "exhaustive", "landmarks", "landmark_wise"],
)
def test_poses_are_those_of_one_frame_at_a_time(
    method: dict[str, Any], tracking: dict[str, Any]
) -> None:
    one, two = Collector(), Collector()
    demo(1, one, **method, **tracking)
    summary = demo(2, two, **method, **tracking).summary()
    assert [p.index for p in two.poses] == list(range(FRAMES))
    for expected, found in zip(one.poses, two.poses, strict=True):
        assert expected.cam_from_world is not None and found.cam_from_world is not None
        np.testing.assert_array_equal(found.cam_from_world, expected.cam_from_world)
        assert list(found.stages_ms) == list(expected.stages_ms)
        # Every frame after the first is where the one before it lets expect.
        assert ("track" in found.stages_ms) == (bool(tracking) and found.index > 0)
    assert one.threads == {"MainThread"}
    assert len(two.threads) == 1 and two.threads != one.threads
    assert summary.frames == summary.localized == FRAMES
    assert summary.frames_per_s is not None and summary.frames_per_s > 0
    assert "throughput" in summary.to_text()


def test_a_frame_is_expected_when_those_before_it_are_done() -> None:
    """Not when its features are looked for, while another one is still localised."""
    camera, told = read_camera(DEMO / "camera.json"), list[tuple[str, int]]()
    settings = Settings(in_flight=2, threads=1, method="exhaustive")
    frames = list(itertools.islice(open_source(str(DEMO / "frames"), camera), FRAMES))
    with (
        Localizer.open(open_bundle(DEMO / "map"), camera, settings) as localizer,
        pipeline(
            localizer,
            lambda frame: told.append(("before", frame.index)),
            lambda frame, *_: told.append(("done", frame.index)),
        ) as flow,
    ):
        for frame in frames:
            flow.push(frame)
            assert ("done", frame.index - 2) in told or frame.index < 2
        flow.settle()
        assert told == [(when, f.index) for f in frames for when in ("before", "done")]


@pytest.mark.parametrize("in_flight", [1, 2])
def test_the_search_that_verifies_a_pose_begins_when_the_pose_is_out(
    in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Told(Collector):
        def write(self, estimate: PoseEstimate) -> None:
            super().write(estimate)
            told.append(f"out {estimate.index}")

    def registered(localizer: Localizer, frame: Frame, camera: Camera) -> PoseEstimate:
        told.append(f"searched {frame.index}")
        return search(localizer, frame, camera)

    search = Localizer._registered
    monkeypatch.setattr(Localizer, "_registered", registered)
    demo(in_flight, Told(), method="exhaustive", tracking=True, search_every=2)
    assert told == ["searched 0", "out 0", "out 1", "out 2", "out 3", "searched 3", "out 4"]


def test_a_sink_that_breaks_ends_the_run() -> None:
    sink = Collector(breaks_at=2)
    with pytest.raises(SinkError, match="the connection is closed"):
        demo(2, sink)
    assert [p.index for p in sink.poses] == [0, 1]


def test_three_in_flight_are_refused() -> None:
    with pytest.raises(ConfigError, match="in_flight: found 3, expected 1 or 2"):
        Settings(in_flight=3)
