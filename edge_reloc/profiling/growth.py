"""Does memory grow? A slope over frames, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 3.0  # standard errors that a slope must exceed to count as growth
PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Growth:
    """bytes_per_1000: of frames, least squares; error: its standard error; bytes.

    `significant` when the slope stands out of the noise and moved a page at least.
    """

    bytes_per_1000: float
    error: float
    significant: bool

    @property
    def bytes(self) -> int:
        """Growth per 1,000 frames that is believed: 0 where it is noise."""
        return round(self.bytes_per_1000) if self.significant else 0


def measure_growth(frames: Sequence[int], nbytes: Sequence[int]) -> Growth:
    """Slope of memory samples (bytes) taken at frame numbers.

    Samples of one run follow each other, so that their noise is not independent: the
    error is taken from the means of ten stretches. Few samples show nothing.
    """
    x, y = np.asarray(frames, np.float64), np.asarray(nbytes, np.float64)
    if len(x) < 4 or np.ptp(x) == 0:
        return Growth(bytes_per_1000=0.0, error=float("inf"), significant=False)
    groups = np.array_split(np.arange(len(x)), min(10, len(x)))
    x = np.array([x[g].mean() for g in groups])
    y = np.array([y[g].mean() for g in groups])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - slope * centred
    variance = float(residual @ residual) / max(len(x) - 2, 1) / float(centred @ centred)
    error = float(np.sqrt(variance))
    moved = abs(slope) * float(np.ptp(x))
    return Growth(
        bytes_per_1000=1000.0 * slope,
        error=1000.0 * error,
        significant=bool(abs(slope) > CONFIDENCE * error and moved >= PAGE_BYTES),
    )
