"""Numbers of a run of any length in memory that is taken once."""

from __future__ import annotations

import numpy as np

from ..arrays import F64


class History:
    """Rows of `columns` numbers that stay evenly spread over the run.

    When `capacity` is reached every second row goes, and from then on only every
    second that is offered is kept, and so on.
    """

    def __init__(self, capacity: int, columns: int) -> None:
        self._rows = np.zeros((capacity, columns))
        self._count = 0
        self._stride = 1
        self._offered = 0

    def add(self, *values: float) -> None:
        """Keep the row, if it is its turn."""
        if self._offered % self._stride == 0:
            if self._count == len(self._rows):
                kept = self._rows[::2].copy()
                self._rows[: len(kept)] = kept
                self._count = len(kept)
                self._stride *= 2
                if self._offered % self._stride:
                    self._offered += 1
                    return
            self._rows[self._count] = values
            self._count += 1
        self._offered += 1

    @property
    def rows(self) -> F64:
        """What is kept, (n, columns)."""
        return self._rows[: self._count]
