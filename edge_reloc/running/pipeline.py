"""How frames go through a localiser: one at a time, or two with one in each half of it.

Of two, one is localised while the next one's features are found. Each half of the work has a
thread. Poses come out in the order of the frames, as soon as they are there, whether or not
the next frame has arrived. What is known of a frame from those before it is asked for when
they are done, so that two in flight give the answers of one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from ..localizer import Extracted, Localizer
from ..structs import Frame, Localization

#: called with every frame when those before it are done, and before it is localised
Before = Callable[[Frame], None]
#: called with every frame, what became of it and when work on it began (monotonic ns)
Done = Callable[[Frame, Localization, int], None]


class Localizes(Protocol):
    """All that frames need that go one at a time."""

    def localize(self, image: Frame) -> Localization:
        """Never raises for what a camera shows."""

    def verify(self) -> None:
        """Search for the last frame once more, where that is due; its pose is out."""


def pipeline(localizer: Localizes, before: Before, done: Done) -> OneAtATime | TwoInFlight:
    """As the localiser is made for; a context manager.

    It raises what `before` and `done` raise, at the next occasion.
    """
    if isinstance(localizer, Localizer) and localizer.in_flight == 2:
        return TwoInFlight(localizer, before, done)
    return OneAtATime(localizer, before, done)


class OneAtATime:
    """All in the caller's thread."""

    def __init__(self, localizer: Localizes, before: Before, done: Done) -> None:
        self._localizer, self._before, self._done = localizer, before, done

    def __enter__(self) -> OneAtATime:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def push(self, frame: Frame) -> None:
        """Localise it."""
        begin_ns = time.monotonic_ns()
        self._before(frame)
        self._done(frame, self._localizer.localize(frame), begin_ns)
        self._localizer.verify()

    def settle(self) -> None:
        """Nothing is under way."""


class TwoInFlight:
    """`before` and `done` are called from the thread that localises."""

    def __init__(self, localizer: Localizer, before: Before, done: Done) -> None:
        self._localizer, self._before, self._done = localizer, before, done
        self._pending: list[Future[None]] = []
        self._number = 0
        gpu = localizer.gpu
        enter = gpu.cuda.enter if gpu else None
        self._pool = ThreadPoolExecutor(1, "locate", initializer=enter)

    def __enter__(self) -> TwoInFlight:
        self._limits = self._localizer.workers.frame()  # once, since both threads are in it
        self._limits.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        try:
            if raised[0] is None:
                self.settle()
        finally:
            if self._localizer.gpu is not None:
                self._pool.submit(self._localizer.gpu.cuda.leave)
            self._pool.shutdown()
            self._limits.__exit__(None, None, None)

    def push(self, frame: Frame) -> None:
        """Find its features, and wait until the frame before it is done.

        Then, not later, the next frame is chosen: the newest one there is.
        """
        begin_ns = time.monotonic_ns()
        slots = self._localizer.in_flight
        extracted = self._localizer.extract(frame, self._number % slots)
        self._number += 1
        self._pending.append(self._pool.submit(self._finish, extracted, begin_ns))
        self._wait(slots - 1)

    def settle(self) -> None:
        """Wait until all are done."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        while len(self._pending) > most:
            self._pending.pop(0).result()

    def _finish(self, extracted: Extracted, begin_ns: int) -> None:
        self._before(extracted.frame)
        self._done(extracted.frame, self._localizer.locate(extracted), begin_ns)
        self._localizer.verify()
