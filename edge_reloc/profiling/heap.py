"""What the C library holds for this process, and what Python takes in a frame."""

from __future__ import annotations

import ctypes
import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

LARGEST = 6  # lines of code that are named


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def _mallinfo() -> Callable[[], _MallInfo] | None:
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2  # glibc 2.33 and later
    except (OSError, AttributeError):
        return None
    mallinfo2.restype = _MallInfo
    return cast(Callable[[], _MallInfo], mallinfo2)


_MALLINFO = _mallinfo()


def heap_in_use() -> int | None:
    """Bytes allocated from the C library now; None where it does not tell."""
    if _MALLINFO is None:
        return None
    info = _MALLINFO()
    return int(info.uordblks + info.hblkhd)


@dataclass(frozen=True, kw_only=True)
class PythonAllocations:
    """What Python and numpy take in a frame."""

    frames: int
    #: What stays, mean over the frames.
    net_bytes: float
    #: Most that was held inside a frame and given back.
    transient_bytes: int
    #: Lines of code with the bytes they hold at the end of a frame, the largest first.
    largest: tuple[tuple[str, int], ...]

    def to_text(self) -> str:
        """A line for people."""
        return (
            f"{self.net_bytes:+.0f} bytes a frame stay, "
            f"{self.transient_bytes / 1e6:.2f} MB at most come and go in one"
        )


def trace_allocations(step: Callable[[], None], frames: int) -> PythonAllocations:
    """Run `step` for some frames under Python's allocation tracer (slow)."""
    tracemalloc.start()
    try:
        step()  # the tracer's own beginnings
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        transient = 0
        for _ in range(frames):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            step()
            transient = max(transient, tracemalloc.get_traced_memory()[1] - before)
        gc.collect()
        end = tracemalloc.get_traced_memory()[0]
        held = tracemalloc.take_snapshot().statistics("lineno")[:LARGEST]
    finally:
        tracemalloc.stop()
    lines = tuple(
        (f"{_short(s.traceback[0].filename)}:{s.traceback[0].lineno}", s.size) for s in held
    )
    return PythonAllocations(
        frames=frames,
        net_bytes=(end - start) / frames,
        transient_bytes=transient,
        largest=lines,
    )


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])
