"""The loop around a localiser: every status, live sources, signals, sinks."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_reloc.errors import SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose
from edge_reloc.running.loop import run
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.sinks import open_sink
from edge_reloc.sources import open_source
from edge_reloc.structs import Frame, Localization, PoseEstimate, Status

CAMERA = Camera(model="pinhole", width=64, height=48, fx=60, fy=60, cx=31.5, cy=23.5)
STATUSES = list(Status)
FRAMES = 2 * len(STATUSES)
LEVEL = 256 // len(STATUSES)  # grey levels of each


class ByBrightness:
    """Stands in for the localiser: the grey level of a frame is its status."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def localize(self, frame: Frame) -> Localization:
        self.seen.append(frame.name)
        status = STATUSES[int(frame.image.mean()) // LEVEL]
        ok = status is Status.OK
        estimate = PoseEstimate(
            t_ns=frame.t_ns,
            status=status,
            reason=None if ok else "grey",
            cam_from_world=compose(np.eye(3), [frame.index, 0.0, 0.0]) if ok else None,
            index=frame.index,
            name=frame.name,
            stages_ms={"extract": 1.0},
        )
        return Localization(estimate=estimate)

    def verify(self) -> None: ...


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Every status twice, in the order of `Status`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(FRAMES):
        level = LEVEL * (index % len(STATUSES)) + LEVEL // 2
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64), level, np.uint8))
    return folder


def test_every_frame_reaches_statistics_and_sinks(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"not a picture")
    source = open_source(str(photos), CAMERA)
    localizer, statistics = ByBrightness(), RunStatistics()
    sinks = [open_sink(tmp_path / "a.jsonl"), open_sink(tmp_path / "b.tum")]
    watched: list[Status] = []
    run(
        localizer,
        source,
        statistics,
        sinks=sinks,
        watch=lambda frame, result: watched.append(result.status),
    )
    assert watched == STATUSES * 2
    assert localizer.seen == [f"{i}.png" for i in range(FRAMES)]
    summary = statistics.summary(skipped=len(source.skipped))
    assert summary.frames == FRAMES and summary.localized == 2 and summary.skipped == 1
    assert summary.statuses == {status.value: 2 for status in Status}
    assert summary.age is None  # photos have no age
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == [s.value for s in STATUSES] * 2
    assert all((line["cam_from_world"] is None) == (line["status"] != "OK") for line in lines)
    assert len((tmp_path / "b.tum").read_text().splitlines()) == 2


def test_limit(photos: Path) -> None:
    localizer = ByBrightness()
    run(localizer, open_source(str(photos), CAMERA), RunStatistics(), limit=3)
    assert localizer.seen == ["0.png", "1.png", "2.png"]


class LiveFrames:
    """A live source whose frames are 50 ms old."""

    live = True
    width, height = 64, 48
    dropped = 4
    skipped: list[str] = []  # noqa: RUF012 (the protocol's plain attribute)

    def __iter__(self) -> Iterator[Frame]:
        for index in range(5):
            t_ns = time.monotonic_ns() - 50_000_000
            image = np.zeros((48, 64), np.uint8)
            yield Frame(image=image, t_ns=t_ns, camera=CAMERA, index=index)

    def close(self) -> None: ...


def test_age_of_live_frames_counts_from_capture() -> None:
    statistics = RunStatistics()
    run(ByBrightness(), LiveFrames(), statistics)
    age = statistics.summary().age
    assert age is not None
    assert age.p50_ms >= 49.0  # 50 ms, less half a bin of the histogram


def test_failing_sink_keeps_what_was_written(photos: Path, tmp_path: Path) -> None:
    class FailsAtThird:
        count = 0

        def write(self, estimate: PoseEstimate) -> None:
            self.count += 1
            if self.count == 3:
                raise SinkError("poses.x: writing stopped")

        def close(self) -> None: ...

    statistics = RunStatistics()
    good = open_sink(tmp_path / "a.jsonl")
    with pytest.raises(SinkError, match="writing stopped"):
        run(
            ByBrightness(),
            open_source(str(photos), CAMERA),
            statistics,
            sinks=[good, FailsAtThird()],
        )
    assert statistics.summary().frames == 3
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_after_the_frame_it_meets(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """The frame in work is finished and written; handlers are put back."""
    before = signal.getsignal(number)

    class SignalsAtThird(ByBrightness):
        def localize(self, frame: Frame) -> Localization:
            estimate = super().localize(frame)
            if len(self.seen) == 3:
                os.kill(os.getpid(), number)
            return estimate

    localizer, statistics = SignalsAtThird(), RunStatistics()
    sink = open_sink(tmp_path / "a.jsonl")
    run(localizer, open_source(str(photos), CAMERA), statistics, sinks=[sink])
    assert len(localizer.seen) == 3
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3
    assert signal.getsignal(number) is before


def test_signal_while_waiting_for_a_frame_ends_at_once() -> None:
    class Silent(LiveFrames):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)  # the test would time out here if the signal waited

    statistics = RunStatistics()
    run(ByBrightness(), Silent(), statistics)
    assert statistics.frames == 5


def test_runs_outside_the_main_thread(photos: Path) -> None:
    """Python allows signal handlers in the main thread only."""
    statistics = RunStatistics()
    source = open_source(str(photos), CAMERA)
    thread = threading.Thread(target=run, args=(ByBrightness(), source, statistics))
    thread.start()
    thread.join(600)
    assert statistics.frames == FRAMES
