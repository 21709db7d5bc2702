"""How frames go through a localiser: one at a time, or two with one in each half of it.

Of two, one is localised while the next one's features are found. Each half of the work has a
thread. Poses come out in the order of the frames, as soon as they are there, whether or not
the next frame has arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol

from ..localizer import Extracted, Localizer
from ..structs import Frame, Localization

#: called with every frame, what became of it and when work on it began (monotonic ns)
Done = Callable[[Frame, Localization, int], None]
Push = Callable[[Frame], None]


class Localizes(Protocol):
    """All that frames need that go one at a time."""

    def localize(self, image: Frame) -> Localization:
        """Never raises for what a camera shows."""


def pipeline(localizer: Localizes, done: Done) -> AbstractContextManager[Push]:
    """What takes in a frame and reports what became of it, as the localiser is made for."""
    if isinstance(localizer, Localizer) and localizer.in_flight == 2:
        return TwoStagePipeline(localizer, done)
    return _one_at_a_time(localizer, done)


@contextmanager
def _one_at_a_time(localizer: Localizes, done: Done) -> Iterator[Push]:
    def push(frame: Frame) -> None:
        begin_ns = time.monotonic_ns()
        done(frame, localizer.localize(frame), begin_ns)

    yield push


class TwoStagePipeline:
    """Context manager of a `Push`; `done` is called from the thread that localises."""

    def __init__(self, localizer: Localizer, done: Done) -> None:
        self._localizer, self._done = localizer, done
        self._pending: list[Future[None]] = []
        self._number = 0
        gpu = localizer.gpu
        enter = gpu.cuda.enter if gpu else None
        self._pool = ThreadPoolExecutor(1, "locate", initializer=enter)

    def __enter__(self) -> Push:
        self._limits = self._localizer.workers.frame()  # once, since both threads are in it
        self._limits.__enter__()
        return self._push

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._pending:
                future = self._pending.pop(0)
                if kind is None:
                    future.result()
        finally:
            if self._localizer.gpu is not None:
                self._pool.submit(self._localizer.gpu.cuda.leave)
            self._pool.shutdown()
            self._limits.__exit__(kind, error, trace)

    def _push(self, frame: Frame) -> None:
        """Take in a frame; waits when two are in flight. Raises what `done` raised."""
        begin_ns = time.monotonic_ns()
        slots = self._localizer.in_flight
        while len(self._pending) >= slots:
            self._pending.pop(0).result()
        extracted = self._localizer.extract(frame, self._number % slots)
        self._number += 1
        self._pending.append(self._pool.submit(self._finish, extracted, begin_ns))

    def _finish(self, extracted: Extracted, begin_ns: int) -> None:
        self._done(extracted.frame, self._localizer.locate(extracted), begin_ns)
