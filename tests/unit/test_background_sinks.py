"""Sinks behind a queue: order, back-pressure, drops that are counted, failures that are told."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import SinkError
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.background import ESTIMATE_BYTES, BackgroundSink, BackgroundSinks
from edge_reloc.sinks.look import Look
from edge_reloc.sinks.rate import at_most
from edge_reloc.structs import PoseEstimate, Status

WAIT_S = 60.0  # no test gets near it
QUEUED = 4  # estimates in the small queues here


def estimate(index: int) -> PoseEstimate:
    return PoseEstimate(t_ns=index, index=index, status=Status.NO_POSE)


class Held:
    """A sink that takes nothing before it is let go."""

    def __init__(self, fails: bool = False) -> None:
        self.go = threading.Event()
        self.taken: list[int] = []
        self.closed = False
        self._fails = fails

    def write(self, estimate: PoseEstimate) -> None:
        self.go.wait(WAIT_S)
        if self._fails:
            raise SinkError("poses.jsonl: no space left")
        self.taken.append(estimate.index)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def held() -> Iterator[Held]:
    sink = Held()
    yield sink
    sink.go.set()


def behind(sink: Held, *, waits: bool) -> BackgroundSink:
    """With the first estimate in the sink's hands, and room for QUEUED more."""
    queue = BackgroundSink(sink, "held", waits=waits, most_bytes=QUEUED * 4096)
    queue.write(estimate(0))
    with queue._changed:
        assert queue._changed.wait_for(lambda: queue._busy, WAIT_S)
    return queue


def test_a_sink_that_blocks_costs_a_live_run_the_oldest_poses(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    queue = behind(held, waits=False)
    for index in range(1, 21):
        queue.write(estimate(index))
    assert queue.dropped == 20 - QUEUED
    assert [record.getMessage() for record in caplog.records] == [
        "held: it takes poses too slowly or not at all; the oldest that wait are dropped"
    ]
    held.go.set()
    queue.drain(WAIT_S)
    assert held.taken == [0, 17, 18, 19, 20]
    queue.close()
    queue.close()
    assert held.closed


def test_photos_wait_for_a_sink_that_blocks(held: Held) -> None:
    queue = behind(held, waits=True)

    def write_all() -> None:
        for index in range(1, 21):
            queue.write(estimate(index))

    writer = threading.Thread(target=write_all)
    writer.start()
    writer.join(0.2)
    assert writer.is_alive() and not held.taken
    held.go.set()
    writer.join(WAIT_S)
    queue.drain()
    assert held.taken == list(range(21)) and queue.dropped == 0
    queue.close()


def test_what_a_sink_never_takes_is_given_up(held: Held) -> None:
    queue = behind(held, waits=False)
    queue.write(estimate(1))
    queue.drain(0.05)
    assert queue.dropped == 1


def test_a_live_run_goes_on_without_a_sink_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Held(fails=True)
    failing.go.set()
    sinks = BackgroundSinks(live=True)
    sinks.add(failing, "poses.jsonl")
    sinks.add(open_sink(tmp_path / "good.jsonl"), "good.jsonl")
    for index in range(5):
        sinks.write(estimate(index))
        sinks.drain()
    with pytest.raises(SinkError, match="no space left"):
        sinks.check()
    sinks.close()
    assert len((tmp_path / "good.jsonl").read_text().splitlines()) == 5
    assert [record.getMessage() for record in caplog.records] == [
        "poses.jsonl: no space left; the run goes on without it"
    ]


@pytest.mark.parametrize("live", [True, False])
def test_a_failure_ends_what_nobody_takes_any_more(live: bool) -> None:
    failing = Held(fails=True)
    failing.go.set()
    sinks = BackgroundSinks(live=live)
    sinks.add(failing, "poses.jsonl")
    sinks.write(estimate(0))
    sinks.drain()
    with pytest.raises(SinkError, match="no space left"):
        sinks.write(estimate(1))
    sinks.close()


def test_a_pipe_that_nobody_reads_holds_up_nothing(tmp_path: Path) -> None:
    """A real one: the thread is stuck in the system, and closing does not wait for it."""
    path = tmp_path / "poses.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)  # a dozen lines
    queue = BackgroundSink(open_sink(path), "pipe", waits=False, most_bytes=QUEUED * 4096)
    for index in range(30):
        queue.write(estimate(index))
        queue.drain(0.01)
    before = queue.dropped
    for index in range(100):
        queue.write(estimate(index))
    assert before > 0 and queue.dropped == before + 100 - QUEUED
    os.close(reader)  # the thread meets a broken pipe
    queue.drain(WAIT_S)
    assert isinstance(queue.failure, SinkError) and "Broken pipe" in str(queue.failure)
    queue.close()


class Drawn:
    """Remembers what came, in order; slow on request."""

    looks_hz = 10.0

    def __init__(self) -> None:
        self.came: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def write(self, estimate: PoseEstimate) -> None:
        self.go.wait()
        self.came.append(f"estimate {estimate.index}")

    def draw(self, look: Look) -> None:
        self.came.append(f"look {look.estimate.index}")

    def close(self) -> None: ...


def look_at(index: int, t_s: float, nbytes: int = 100) -> Look:
    points = np.zeros((0, 2), np.float32)
    return Look(
        estimate=PoseEstimate(t_ns=round(t_s * 1e9), status=Status.OK, index=index),
        image=np.zeros((1, nbytes), np.uint8),
        xy_px=points,
        inlier_xy_px=points,
        inlier_xyz=np.zeros((0, 3), np.float32),
    )


def test_looks_come_after_their_estimates_and_no_more_often_than_wanted() -> None:
    sink, sinks = Drawn(), BackgroundSinks(live=True)
    sinks.add(sink, "drawn")
    for index in range(5):
        look = look_at(index, 0.05 * index)
        sinks.write(look.estimate)
        if sinks.wants_look(look.estimate.t_ns):
            sinks.draw(look)
    sinks.drain()
    sinks.close()
    looks = [word for word in sink.came if word.startswith("look")]
    assert looks == ["look 0", "look 2", "look 4"]
    assert sink.came.index("look 2") == sink.came.index("estimate 2") + 1
    assert len(sink.came) == 8


def test_a_look_that_finds_no_room_costs_no_estimate() -> None:
    sink = Drawn()
    sink.go.clear()
    background = BackgroundSink(sink, "drawn", waits=False, most_bytes=3 * ESTIMATE_BYTES)
    for index in range(3):
        background.write(look_at(index, index).estimate)
    background.draw(look_at(2, 2.0, nbytes=4 * ESTIMATE_BYTES))
    sink.go.set()
    background.drain()
    background.close()
    assert background.looks_dropped == 1 and background.dropped == 0
    assert sink.came == ["estimate 0", "estimate 1", "estimate 2"]


def test_what_a_rate_and_a_full_queue_keep_from_a_sink_is_counted_by_its_name() -> None:
    sink, sinks = Drawn(), BackgroundSinks(live=True)
    sinks.add(at_most(sink, 10.0), "drawn")
    sink.go.clear()  # the first estimate is in its hands, the others wait
    for index in range(6):
        sinks.write(look_at(index, 0.05 * index).estimate)
    sinks.draw(look_at(6, 10.0, nbytes=1 << 26))
    sink.go.set()
    sinks.drain()
    sinks.close()
    assert sinks.left_out() == {"drawn": 3} and sinks.unseen() == {"drawn": 1}
    summary = RunStatistics().summary(left_out=sinks.left_out(), unseen=sinks.unseen())
    text = summary.to_text()
    assert "left out   3 poses, more than the rate of drawn" in text
    assert "unseen     1 images, which drawn did not take in time" in text
