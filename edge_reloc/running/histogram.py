"""Percentiles of durations for as long as one likes, in fixed memory."""

from __future__ import annotations

import math

import numpy as np

LOWEST_MS = 1e-3
HIGHEST_MS = 1e6
RATIO = 1.01  # width of a bin: a percentile is exact to half of it, 0.5 %
_BINS = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) / math.log(RATIO))
_LOG_RATIO = math.log(RATIO)


class Histogram:
    """Counts durations in log-spaced bins (17 kB); keeps the exact maximum."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self.count = 0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        """Count one duration; negative ones (clocks that jump) count as 0."""
        value_ms = min(max(value_ms, LOWEST_MS), HIGHEST_MS)
        index = int(math.log(value_ms / LOWEST_MS) / _LOG_RATIO)
        self._counts[min(index, _BINS - 1)] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, value_ms)

    def percentile_ms(self, percent: float) -> float:
        """The duration that `percent` of all stay at or below; NaN when empty."""
        if self.count == 0:
            return math.nan
        rank = max(1, math.ceil(self.count * percent / 100.0))
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        centre_ms: float = LOWEST_MS * RATIO ** (index + 0.5)
        return min(centre_ms, self.max_ms)
