"""The real-time loop: newest frame in, pose out to every sink, forever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

from ..command_line.program import ending_signals
from ..sinks import Sink
from ..sources import Source
from ..structs import Frame, Localization
from .pipeline import Localizes, pipeline
from .statistics import RunStatistics

#: called after every frame, while what it left behind can be looked at
Watch = Callable[[Frame, Localization], None]


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

    A live source hands over its newest frame and counts the ones it dropped, so poses never
    lag behind by a queue. Raises what the source or a sink raises (SourceError, SinkError).
    """

    def done(frame: Frame, result: Localization, begin_ns: int) -> None:
        end_ns = time.monotonic_ns()
        age_ms = (end_ns - frame.t_ns) * 1e-6 if source.live else None
        statistics.add(result.estimate, (end_ns - begin_ns) * 1e-6, age_ms)
        for sink in sinks:
            sink.write(result.estimate)
        if watch is not None:
            watch(frame, result)

    with Interruptible() as interruptible, pipeline(localizer, done) as push:
        for number, frame in enumerate(interruptible.frames(source), 1):
            push(frame)
            if number == limit:
                break


class Interruptible:
    """Lets SIGINT, SIGTERM and SIGHUP end a loop between two frames, not inside one.

    While the loop waits for a frame the signal takes effect at once; while it
    works, after the frame. A second signal does not wait.
    """

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():  # Python allows it only there
            for kind in ending_signals():
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
