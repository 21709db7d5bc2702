"""The host arena: one mapping, taken whole before frame 0, nothing after."""

from __future__ import annotations

import ctypes
import math
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arrays import U8
from ..errors import EdgeRelocError

ALIGNMENT_BYTES = 64  # a cache line; enough for AVX-512 and NEON loads
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
LARGEST_KEPT_BYTES, KEPT_BYTES = 32 << 20, 1 << 30


@dataclass(frozen=True)
class LedgerEntry:
    """One buffer taken from the arena."""

    name: str
    #: Without what alignment adds.
    nbytes: int


class Arena:
    """Hands out zeroed, aligned arrays until it is sealed.

    capacity_bytes: size of the one mapping that they all lie in, as a plan says; asking
    for more raises. None is for planning and for tools: each array is its own, and
    nothing is held to.
    """

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.ledger: list[LedgerEntry] = []
        self.sealed = False
        self.nbytes = 0  # handed out, alignment included
        self.capacity_bytes = capacity_bytes
        self._used = False  # handed out before, and to be cleared
        self._block: U8 | None = None
        if capacity_bytes:
            # Given pages now, not at the first touch: a full machine is found out here.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
            self._block = np.frombuffer(mmap.mmap(-1, capacity_bytes, flags=flags), np.uint8)

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A zeroed C-contiguous array; raises once the arena is sealed or full."""
        if self.sealed:
            raise EdgeRelocError(
                f"memory arena: '{name}' was asked for after the arena was sealed; "
                f"buffers are taken when the localiser is opened, not per frame"
            )
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        start, padded = self.nbytes, -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        if self._block is None:
            raw = np.zeros(nbytes + ALIGNMENT_BYTES, np.uint8)
            offset = -raw.ctypes.data % ALIGNMENT_BYTES
            raw = raw[offset : offset + nbytes]
        elif start + padded > len(self._block):
            raise EdgeRelocError(
                f"memory arena: '{name}' takes {nbytes} bytes, {len(self._block) - start} of the "
                f"planned {len(self._block)} are left; the plan and the localiser disagree"
            )
        else:
            raw = self._block[start : start + nbytes]
            if self._used:
                raw[:] = 0
        self.nbytes += padded
        self.ledger.append(LedgerEntry(name, nbytes))
        return raw.view(dtype).reshape(shape)

    def seal(self) -> None:
        """From here on `take` raises: frames find their buffers taken."""
        self.sealed = True

    def reset(self) -> None:
        """Hand the same memory out anew; whoever holds arrays of it must have let go of them."""
        self.ledger.clear()
        self.sealed, self.nbytes = False, 0
        self._used = True


def keep_freed_memory() -> None:
    """Tell the C library to keep what this process frees for later.

    By default it gives large pieces back to the system, which must clear and map them
    again a frame later. The process then stays at its peak instead of returning to it.
    Threads that begin later share one pool, or each would keep what it once freed.
    Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_ARENA_MAX, 1)
