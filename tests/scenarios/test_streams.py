"""Real streams over loopback: received, cut in the middle, and received again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from edge_reloc.reasons import Reason
from edge_reloc.sources import Source, live, open_source
from edge_reloc.structs import Frame
from tests.served_stream import Served

GREYS = {80, 180}  # of the pictures, by turns
WIDTH, HEIGHT = 160, 120
LIMIT_S = 60.0

pytest.importorskip("av")

Serve = Callable[[str], Served]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(live, "LONGEST_PAUSE_S", 0.2)
    served: list[Served] = []

    def start(kind: str) -> Served:
        served.append(Served(kind))
        return served[-1]

    yield start
    for stream in served:
        stream.cut()


def received(source: Source, count: int) -> list[Frame]:
    """So many frames, whose pictures, times and numbers are as they should be."""
    frames: list[Frame] = []
    end_s = time.monotonic() + LIMIT_S
    while len(frames) < count:
        assert time.monotonic() < end_s, source.fault
        frame = source.wait(1.0)
        if frame is not None:
            frames.append(frame)
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH) and frame.fault is None
        assert min(abs(frame.image.mean() - grey) for grey in GREYS) < 4
        assert frame.received_ns is not None and frame.t_ns <= frame.received_ns
    return frames


@pytest.mark.parametrize("kind", ["tcp", "udp", "rtp", "rtsp"])
def test_a_stream_that_is_cut_comes_back(
    serve: Serve, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind in ("udp", "rtp"):  # where silence is all that there is to notice
        monkeypatch.setattr("edge_reloc.sources.streams.READ_TIMEOUT_S", 1.0)
    stream = serve(kind)
    source = open_source(stream.url)
    assert "h264" in source.about and "times: the stream's own" in source.about
    before = received(source, 25)
    assert source.fault is None
    assert {round(frame.image.mean() / 100) for frame in before} == {1, 2}
    stream.cut()
    end_s = time.monotonic() + LIMIT_S
    while (fault := source.fault) is None or fault.reason is not Reason.CAMERA_GONE:
        before += [frame] if (frame := source.wait(0.05)) else []
        assert time.monotonic() < end_s
    before += [frame] if (frame := source.wait(0.0)) else []
    assert stream.url in fault.text and "\n" not in fault.text
    assert before[-1].received_ns and abs(fault.since_ns - before[-1].received_ns) < 2e9
    stream.start()
    after = received(source, 5)
    assert source.fault is None and not source.ended
    frames = before + after
    assert all(a.t_ns < b.t_ns and a.index < b.index for a, b in pairwise(frames))
    source.close()
    assert source.ended


def test_a_stream_of_photos_is_stamped_with_its_arrival(serve: Serve) -> None:
    source = open_source(serve("http").url)
    assert "mjpeg" in source.about and "times: arrival" in source.about
    frames = received(source, 5)
    assert all(frame.t_ns == frame.received_ns for frame in frames)
    source.close()


def test_a_stream_without_pyav_ends_where_that_is_asked_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_reloc.sources.schemes.have_av", lambda: False)
    stream = serve("tcp")
    source = open_source(stream.url, exit_on_end=True)
    assert "decoded by OpenCV" in source.about
    received(source, 5)
    stream.cut()
    assert all(frame.image.shape == (HEIGHT, WIDTH) for frame in source)
    assert source.ended
    source.close()
