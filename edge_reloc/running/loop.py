"""The real-time loop: newest frame in, pose out to every sink, forever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Protocol

from ..localizer import Localizer
from ..profiling import RunStatistics
from ..sinks import Sink
from ..sources import Source
from ..structs import Frame, PoseEstimate
from .pipeline import Done, Flow

Watch = Callable[[Frame, PoseEstimate], None]


class Localizes(Protocol):
    """All that the loop needs of a localiser."""

    def localize(self, frame: Frame) -> PoseEstimate:
        """Never raises for what a camera shows."""


def run(
    localizer: Localizes,
    source: Source,
    statistics: RunStatistics,
    *,
    sinks: Sequence[Sink] = (),
    limit: int | None = None,
    watch: Watch | None = None,
) -> None:
    """Localise frames until the source ends, `limit` is reached or Ctrl-C.

    A live source hands over its newest frame and counts the ones it dropped,
    so poses never lag behind by a queue. watch: called after every frame.
    Raises what the source or a sink raises (SourceError, SinkError).
    """

    def done(frame: Frame, estimate: PoseEstimate, begin_ns: int) -> None:
        end_ns = time.monotonic_ns()
        age_ms = (end_ns - frame.t_ns) * 1e-6 if source.live else None
        statistics.add(estimate, (end_ns - begin_ns) * 1e-6, age_ms)
        for sink in sinks:
            sink.write(estimate)
        if watch is not None:
            watch(frame, estimate)

    with Interruptible() as interruptible, _flow(localizer, done) as push:
        for number, frame in enumerate(interruptible.frames(source), 1):
            push(frame)
            if number == limit:
                break


@contextmanager
def _flow(localizer: Localizes, done: Done) -> Iterator[Callable[[Frame], None]]:
    """What takes in a frame and reports its pose, at once or with the next in flight."""
    if isinstance(localizer, Localizer) and localizer.in_flight == 2:
        with Flow(localizer, done) as flow:
            yield flow.push
        return

    def push(frame: Frame) -> None:
        begin_ns = time.monotonic_ns()
        done(frame, localizer.localize(frame), begin_ns)

    yield push


class Interruptible:
    """Lets SIGINT and SIGTERM end a loop between two frames, not inside one.

    While the loop waits for a frame the signal takes effect at once; while it
    works, after the frame. A second signal does not wait.
    """

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for kind in (signal.SIGINT, signal.SIGTERM):
                self._before[kind] = signal.signal(kind, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is KeyboardInterrupt and self._asked

    def frames(self, source: Source) -> Iterator[Frame]:
        """The source's frames, until it ends or a signal arrives."""
        frames = iter(source)
        while not self._asked:
            self._waiting = True
            frame = next(frames, None)
            self._waiting = False
            if frame is None:
                return
            yield frame

    def _on_signal(self, number: int, where: FrameType | None) -> None:
        at_once = self._waiting or self._asked
        self._asked = True
        if at_once:
            raise KeyboardInterrupt
