"""The real-time loop: newest frame in, pose out to every sink, forever."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any, Protocol, runtime_checkable

from ..command_line.program import ending_signals
from ..reasons import Fault
from ..sinks import Sink
from ..sources import Source
from ..structs import Frame, Localization, PoseEstimate
from .pipeline import Localizes, pipeline
from .statistics import RunStatistics
from .supervisor import Supervisor

LOOK_S = 0.25  # how often a live source that is silent is asked what is wrong

#: called after every frame, while what it left behind can be looked at
Watch = Callable[[Frame, Localization], None]


@runtime_checkable
class Waits(Protocol):
    """A source that can be asked for a frame for some time only."""

    ended: bool
    fault: Fault | None

    def wait(self, timeout_s: float) -> Frame | None:
        """The next frame, None where none came in time."""


@dataclass(frozen=True, kw_only=True)
class Between:
    """Poses that are given out without a frame of their own, by constant motion."""

    #: how many a second; None: one after each frame, of the time `predict_s` later
    rate_hz: float | None = None
    #: how far ahead of the time at which it is given out a pose is
    predict_s: float = 0.0


def run(
    localizer: Localizes,
    source: Source,
    statistics: RunStatistics,
    *,
    sinks: Sequence[Sink] = (),
    limit: int | None = None,
    watch: Watch | None = None,
    supervisor: Supervisor | None = None,
    between: Between | None = None,
    changed: Callable[[PoseEstimate], None] = lambda estimate: None,
    silent: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
    advise: Callable[[Frame], Frame] = lambda frame: frame,
    before: Callable[[Frame], None] = lambda frame: None,
) -> None:
    """Localise frames until the source ends, `limit` is reached or Ctrl-C.

    A live source hands over its newest frame and counts the ones it dropped, so poses never
    lag behind by a queue. supervisor: gives estimates their state and withholds poses that are
    not confirmed. changed: called with what is told of a source that is silent; silent: each
    time that no frame came for a while. stop: ends the loop as Ctrl-C does. advise: adds what
    others know of a frame. before: called with each frame that is about to be localised, when those
    before it are done. Raises what the source or a sink raises (SourceError, SinkError).
    """
    outlet = Outlet(source.live, statistics, sinks, watch, supervisor, between, before)
    with (
        Interruptible(stop) as interruptible,
        outlet.ticking(),
        pipeline(localizer, outlet.before, outlet.done) as frames,
    ):
        number = 0
        for frame in interruptible.events(source):
            if frame is None:
                frames.settle()
                told = outlet.silent(source)
                if told is not None:
                    changed(told)
                silent()
                continue
            frames.push(advise(frame))
            number += 1
            if number == limit:
                break


class Outlet:
    """Where estimates leave for statistics, sinks and who watches, one at a time."""

    def __init__(
        self,
        live: bool,
        statistics: RunStatistics,
        sinks: Sequence[Sink],
        watch: Watch | None,
        supervisor: Supervisor | None,
        between: Between | None,
        before: Callable[[Frame], None],
    ) -> None:
        self._live, self._statistics, self._sinks = live, statistics, sinks
        self._watch, self._supervisor, self._between = watch, supervisor, between
        self._before = before
        self._lock = threading.RLock()
        self._tick = 0  # of `rate_hz`, the last one of which a pose was given out
        self._failed: BaseException | None = None

    def done(self, frame: Frame, result: Localization, begin_ns: int) -> None:
        """What became of a frame."""
        with self._lock:
            estimate = result.estimate
            if self._supervisor is not None:
                estimate = self._supervisor.judge(frame, estimate)
            end_ns = time.monotonic_ns()
            age_ms = (end_ns - frame.t_ns) * 1e-6 if self._live else None
            estimate = replace(estimate, received_ns=frame.received_ns, age_ms=age_ms)
            self._statistics.add(estimate, (end_ns - begin_ns) * 1e-6)
            self._write(estimate)
            if self._between is not None and self._between.rate_hz is None:
                self._propagate(end_ns if self._live else frame.t_ns)
            if self._watch is not None:
                self._watch(frame, replace(result, estimate=estimate))

    def before(self, frame: Frame) -> None:
        """A frame is about to be localised; of a recording, poses that were due before it."""
        if self._failed is not None:
            raise self._failed
        self._before(frame)
        if self._supervisor is not None:
            with self._lock:
                self._supervisor.before(frame.t_ns, frame.odometry)
        if self._between is None or self._between.rate_hz is None or self._live:
            return
        period_ns = 1e9 / self._between.rate_hz
        for tick in range(self._tick + 1, int((frame.t_ns - 1) / period_ns) + 1):
            with self._lock:
                self._propagate(round(tick * period_ns))
        self._tick = int(frame.t_ns / period_ns)

    def silent(self, source: Waits | Source) -> PoseEstimate | None:
        """No frame came; what was told of that, None where it is no news."""
        if self._supervisor is None:
            return None
        with self._lock:
            fault = source.fault if isinstance(source, Waits) else None
            estimate = self._supervisor.silence(time.monotonic_ns(), fault)
            if estimate is not None:
                self._write(estimate)
            return estimate

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Of a live source: a thread that gives out poses between frames."""
        if self._between is None or self._between.rate_hz is None or not self._live:
            yield
            return
        ended, period_s = threading.Event(), 1.0 / self._between.rate_hz

        def tick() -> None:
            due_s = time.monotonic()
            while not ended.wait(max(0.0, due_s - time.monotonic())):
                due_s = max(due_s + period_s, time.monotonic())  # what was missed stays so
                try:
                    with self._lock:
                        self._propagate(time.monotonic_ns())
                except BaseException as error:  # raised where the next frame is taken
                    self._failed = error
                    return

        thread = threading.Thread(target=tick, name="poses between frames", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _propagate(self, t_ns: int) -> None:
        assert self._between is not None
        if self._supervisor is None:
            return
        estimate = self._supervisor.propagated(t_ns + round(self._between.predict_s * 1e9))
        if estimate is not None:
            self._write(estimate)

    def _write(self, estimate: PoseEstimate) -> None:
        for sink in self._sinks:
            sink.write(estimate)


class Interruptible:
    """Lets SIGINT, SIGTERM and SIGHUP end a loop between two frames, not inside one.

    While the loop waits for a frame the signal takes effect at once; while it
    works, after the frame. A second signal does not wait.
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = threading.Event() if stop is None else stop
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

    def frames(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Those, until they end or a signal arrives."""
        return (frame for frame in self._until_asked(iter(frames), None) if frame is not None)

    def events(self, source: Source) -> Iterator[Frame | None]:
        """A source's frames likewise, and None now and then while a live one has none."""
        if source.live and isinstance(source, Waits):
            return self._until_asked(iter(()), source)
        return self._until_asked(iter(source), None)

    def _until_asked(
        self, frames: Iterator[Frame], patient: Waits | None
    ) -> Iterator[Frame | None]:
        while not self._asked and not self._stop.is_set():
            self._waiting = True
            frame = patient.wait(LOOK_S) if patient else next(frames, None)
            self._waiting = False
            if frame is None and (patient is None or patient.ended):
                return
            yield frame

    def _on_signal(self, number: int, where: FrameType | None) -> None:
        at_once = self._waiting or self._asked
        self._asked = True
        if at_once:
            raise KeyboardInterrupt
