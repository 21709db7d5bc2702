"""Sinks that cannot hold up the frames: each is written by a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial

from ..structs import PoseEstimate
from .look import Draws, Look
from .sink import Sink

log = logging.getLogger(__name__)

QUEUE_BYTES = 4 << 20  # of estimates that wait: half a minute of them
LOOK_QUEUE_BYTES = 32 << 20  # where frames wait, too: a dozen of 1280x720
ESTIMATE_BYTES = 4 << 10  # an estimate without its list of inliers
PATIENCE_S = 5.0  # with a sink that takes nothing, when a live run has ended


class BackgroundSink:
    """Hands estimates and looks to a sink in order, from a thread, through a bounded queue.

    What waits is at most `most_bytes`. Where it is full, whoever writes waits if `waits`, else
    the oldest estimate that waits is dropped for a new one, and a new look is not taken; both
    are counted. A sink that raises is not written to again: `failure` is what it raised.
    """

    def __init__(
        self, sink: Sink, name: str, *, waits: bool, most_bytes: int | None = None
    ) -> None:
        draws = isinstance(sink, Draws)
        if most_bytes is None:
            most_bytes = LOOK_QUEUE_BYTES if draws else QUEUE_BYTES
        self._sink, self._waits, self._most_bytes = sink, waits, most_bytes
        self._look_period_ns = round(1e9 / sink.looks_hz) if isinstance(sink, Draws) else None
        self._looked_ns = -(1 << 62)
        self.name = name
        #: where what it gets is to be seen, "" where its name says it
        self.about = str(getattr(sink, "about", ""))
        #: estimates that were never written because the sink took none
        self.dropped = 0
        #: and looks
        self.looks_dropped = 0
        self.failure: Exception | None = None
        self._queue: deque[PoseEstimate | Look] = deque()
        self._nbytes = 0
        self._written = 0
        self._busy = self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=f"sink {name}", daemon=True)
        self._thread.start()

    @property
    def unsent(self) -> int:
        """Estimates that the sink could not pass on, where it counts them."""
        return int(getattr(self._sink, "unsent", 0))

    @property
    def left_out(self) -> int:
        """Estimates that a rate does not let through."""
        return int(getattr(self._sink, "left_out", 0))

    def write(self, estimate: PoseEstimate) -> None:
        """Put an estimate into the queue."""
        nbytes = _nbytes(estimate)
        with self._changed:
            if self._waits:
                self._changed.wait_for(lambda: self._has_room(nbytes) or self.failure is not None)
            if self.failure is not None:
                return
            while not self._has_room(nbytes):
                self._drop_oldest()
            self._queue.append(estimate)
            self._nbytes += nbytes
            self._changed.notify_all()

    def wants_look(self, t_ns: int) -> bool:
        """Whether a frame of this time is to be looked at, too."""
        period_ns = self._look_period_ns
        return period_ns is not None and abs(t_ns - self._looked_ns) >= period_ns

    def draw(self, look: Look) -> None:
        """Put a look into the queue, if the sink wants one by now."""
        if not self.wants_look(look.estimate.t_ns):
            return
        self._looked_ns = look.estimate.t_ns
        with self._changed:
            if self._waits:
                room = partial(self._has_room, look.nbytes)
                self._changed.wait_for(lambda: room() or self.failure is not None)
            if self.failure is not None:
                return
            if not self._has_room(look.nbytes):
                self.looks_dropped += 1
                return
            self._queue.append(look)
            self._nbytes += look.nbytes
            self._changed.notify_all()

    def drain(self, patience_s: float | None = None) -> None:
        """Wait until all is written; once nothing was for `patience_s`, the rest is dropped."""
        with self._changed:
            while (self._queue or self._busy) and self.failure is None:
                if not self._changed.wait_for(partial(self._moved, self._written), patience_s):
                    looks = sum(isinstance(item, Look) for item in self._queue)
                    self.looks_dropped += looks
                    self.dropped += len(self._queue) - looks  # what is in its hands is in doubt
                    self._clear()
                    break

    def close(self) -> None:
        """Close the sink, if it is not stuck in a write; what waits is dropped."""
        with self._changed:
            self._closing = True
            self._clear()
            self._changed.notify_all()
            if self._changed.wait_for(lambda: not self._busy, PATIENCE_S):
                self._sink.close()

    def _clear(self) -> None:
        self._queue.clear()
        self._nbytes = 0

    def _moved(self, before: int) -> bool:
        return self._written > before or self.failure is not None

    def _has_room(self, nbytes: int) -> bool:
        return not self._queue or self._nbytes + nbytes <= self._most_bytes

    def _drop_oldest(self) -> None:
        oldest = self._queue.popleft()
        self._nbytes -= _nbytes(oldest)
        if isinstance(oldest, Look):
            self.looks_dropped += 1
            return
        self.dropped += 1
        if self.dropped == 1:
            log.warning(
                "%s: it takes poses too slowly or not at all; the oldest that wait are dropped",
                self.name,
            )

    def _work(self) -> None:
        while (item := self._next()) is not None:
            failure = None
            try:
                if not isinstance(item, Look):
                    self._sink.write(item)
                elif isinstance(self._sink, Draws):
                    self._sink.draw(item)
            except Exception as error:  # told to whoever writes next
                failure = error
            with self._changed:
                self._busy = False
                self._written += 1
                self.failure = failure
                self._changed.notify_all()
            if failure is not None:
                return

    def _next(self) -> PoseEstimate | Look | None:
        """What waited longest; None when the sink is to be closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._queue) or self._closing)
            if not self._queue:
                return None
            item = self._queue.popleft()
            self._nbytes -= _nbytes(item)
            self._busy = True
            self._changed.notify_all()
            return item


class BackgroundSinks:
    """All sinks of a run as one that never blocks a live source.

    live: frames cannot wait, so that full queues drop the oldest estimates, and a sink that
    fails is told in one line while another goes on. Else nothing is dropped, and the first
    failure is raised at once.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._sinks: list[BackgroundSink] = []
        self._told: set[str] = set()

    def add(self, sink: Sink, name: str) -> None:
        """One more, which is closed with the others."""
        self._sinks.append(BackgroundSink(sink, name, waits=not self._live))

    def about(self) -> list[str]:
        """Where those that serve what they get are to be found."""
        return [sink.about for sink in self._sinks if sink.about]

    def write(self, estimate: PoseEstimate) -> None:
        """Pass an estimate on to all. Raises a sink's failure, live only that of the last."""
        for sink in self._sinks:
            sink.write(estimate)
        failed = [sink for sink in self._sinks if sink.failure is not None]
        if failed and (not self._live or len(failed) == len(self._sinks)):
            self.check()
        for sink in failed:
            if sink.name not in self._told:
                self._told.add(sink.name)
                log.warning("%s; the run goes on without it", sink.failure)

    def wants_look(self, t_ns: int) -> bool:
        """Whether any of them wants to look at a frame of this time."""
        return any(sink.wants_look(t_ns) for sink in self._sinks)

    def draw(self, look: Look) -> None:
        """Pass a look on to those that want it."""
        for sink in self._sinks:
            sink.draw(look)

    def drain(self) -> None:
        """Wait until everything is written; raises nothing."""
        for sink in self._sinks:
            sink.drain(PATIENCE_S if self._live else None)

    def check(self) -> None:
        """Raise the first failure."""
        for sink in self._sinks:
            if sink.failure is not None:
                raise sink.failure

    def dropped(self) -> dict[str, int]:
        """Estimates that a sink did not take, by its name, where there are any."""
        return _some({sink.name: sink.dropped + sink.unsent for sink in self._sinks})

    def left_out(self) -> dict[str, int]:
        """Estimates that its rate kept from a sink, likewise."""
        return _some({sink.name: sink.left_out for sink in self._sinks})

    def unseen(self) -> dict[str, int]:
        """Looks that a sink did not take, likewise."""
        return _some({sink.name: sink.looks_dropped for sink in self._sinks})

    def close(self) -> None:
        """Finish; safe to call twice."""
        for sink in self._sinks:
            sink.close()


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _nbytes(item: PoseEstimate | Look) -> int:
    if isinstance(item, Look):
        return item.nbytes
    inliers = item.inlier_index
    return ESTIMATE_BYTES + (0 if inliers is None else inliers.nbytes)
