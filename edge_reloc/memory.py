"""The host arena: all buffers are taken before frame 0, none after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .errors import EdgeRelocError

ALIGNMENT_BYTES = 64  # a cache line; enough for AVX-512 and NEON loads


@dataclass(frozen=True)
class LedgerEntry:
    """One buffer taken from the arena."""

    name: str
    nbytes: int


class Arena:
    """Hands out zeroed, aligned arrays until it is sealed."""

    def __init__(self) -> None:
        self.ledger: list[LedgerEntry] = []
        self.sealed = False

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A zeroed C-contiguous array; raises once the arena is sealed."""
        if self.sealed:
            raise EdgeRelocError(
                f"memory arena: '{name}' was asked for after the arena was sealed; "
                f"buffers are taken when the localiser is opened, not per frame"
            )
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        raw = np.zeros(nbytes + ALIGNMENT_BYTES, np.uint8)
        offset = -raw.ctypes.data % ALIGNMENT_BYTES
        self.ledger.append(LedgerEntry(name, nbytes))
        return raw[offset : offset + nbytes].view(dtype).reshape(shape)

    def seal(self) -> None:
        """From here on `take` raises."""
        self.sealed = True

    @property
    def nbytes(self) -> int:
        """Bytes handed out."""
        return sum(entry.nbytes for entry in self.ledger)
