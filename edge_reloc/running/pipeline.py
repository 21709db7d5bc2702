"""Two frames in flight: one is localised while the next one's features are found.

Each half of the work has a thread. Poses come out in the order of the frames, as soon as
they are there, whether or not the next frame has arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from ..localizer import Extracted, Localizer
from ..structs import Frame, PoseEstimate

Done = Callable[[Frame, PoseEstimate, int], None]


class Flow:
    """Context manager.

    done: called with every frame, its pose and when work on it began (monotonic
    nanoseconds), from the thread that localises.
    """

    def __init__(self, localizer: Localizer, done: Done) -> None:
        self._localizer, self._done = localizer, done
        self._pending: list[Future[None]] = []
        self._number = 0
        gpu = localizer.gpu
        enter = gpu.cuda.enter if gpu else None
        self._pool = ThreadPoolExecutor(1, "locate", initializer=enter)

    def __enter__(self) -> Flow:
        self._limits = self._localizer.workers.frame()  # once, since both threads are in it
        self._limits.__enter__()
        return self

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

    def push(self, frame: Frame) -> None:
        """Take in a frame; waits when two are in flight. Raises what `done` raised."""
        begin_ns = time.monotonic_ns()
        slots = self._localizer.slots
        while len(self._pending) >= len(slots):
            self._pending.pop(0).result()
        extracted = self._localizer.extract(frame, slots[self._number % len(slots)])
        self._number += 1
        self._pending.append(self._pool.submit(self._finish, frame, extracted, begin_ns))

    def _finish(self, frame: Frame, extracted: Extracted, begin_ns: int) -> None:
        self._done(frame, self._localizer.locate(frame, extracted), begin_ns)
