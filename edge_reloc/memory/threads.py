"""Threads of our own that share a stage, and libraries kept from starting theirs.

The threads of OpenBLAS and of the k-d tree's OpenMP spin when their work is done, on
cores that the next stage needs: an engine that follows a threaded product takes a quarter
longer, matching that follows a search of the tree two thirds. So libraries stay on the
thread that asks them, and a stage that is worth it is split between threads here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


class Workers:
    """`count` threads, the calling one included. threads: 0 for one a core."""

    def __init__(self, threads: int = 1) -> None:
        self.count = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.count - 1) if self.count > 1 else None
        self._libraries = ThreadpoolController()  # those that are loaded by now

    def frame(self) -> AbstractContextManager[object]:
        """Context in which BLAS and OpenMP start no threads, in the whole process."""
        limited: AbstractContextManager[object] = self._libraries.limit(limits=1)
        return limited

    def each(self, work: Callable[[int], None], parts: int) -> None:
        """Call work(0) to work(parts - 1), at most `count` parts, all at once."""
        if self._pool is None or parts == 1:
            for part in range(parts):
                work(part)
            return
        others = [self._pool.submit(work, part) for part in range(1, parts)]
        try:
            work(0)
        finally:
            for other in others:
                other.result()

    def close(self) -> None:
        """End the threads; what they were given is finished first."""
        if self._pool is not None:
            self._pool.shutdown()
