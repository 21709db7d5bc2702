"""Does memory grow? A slope over frames, and whether it is more than noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 4.0  # standard errors that a slope must exceed to count as growth
PAGE_BYTES = 4096
MIN_SAMPLES = 8  # fewer tell nothing
GROUPS = 10


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How fast memory grew, and whether to believe it."""

    #: Slope over 1,000 frames, least squares.
    bytes_per_1000: float
    #: Its standard error.
    error: float
    #: The run was long enough to tell.
    known: bool
    #: The slope stands out of the noise and moved a page at least.
    significant: bool

    @property
    def bytes(self) -> int | None:
        """Growth per 1,000 frames: 0 where it is noise, None where unknown."""
        if not self.known:
            return None
        return round(self.bytes_per_1000) if self.significant else 0

    def to_text(self) -> str:
        """A line for people."""
        if not self.known:
            return "not known: too few memory samples, measure more frames"
        verdict = "" if self.significant else ", none that stands out of the noise"
        return f"{self.bytes_per_1000:+.0f} ± {self.error:.0f} bytes per 1,000 frames{verdict}"


def measure_growth(frames: ArrayLike, nbytes: ArrayLike) -> Growth:
    """Slope of memory samples (bytes, NaN: unknown) taken at frame numbers.

    Of the later half of the run: until a process has met its largest frame once it grows
    without leaking. Samples of one run follow each other, so that their noise is not
    independent: the error is taken from the means of ten stretches.
    """
    x, y = np.asarray(frames, np.float64), np.asarray(nbytes, np.float64)
    later = np.flatnonzero(np.isfinite(y))[np.isfinite(y).sum() // 2 :]
    if len(later) < MIN_SAMPLES or np.ptp(x[later]) == 0:
        return Growth(bytes_per_1000=0.0, error=0.0, known=False, significant=False)
    groups = np.array_split(later, min(GROUPS, len(later)))
    x = np.array([x[g].mean() for g in groups])
    y = np.array([y[g].mean() for g in groups])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    residual = y - y.mean() - slope * centred
    variance = float(residual @ residual) / (len(x) - 2) / float(centred @ centred)
    error = float(np.sqrt(variance))
    moved = abs(slope) * float(np.ptp(x))
    return Growth(
        bytes_per_1000=1000.0 * slope,
        error=1000.0 * error,
        known=True,
        significant=bool(abs(slope) > CONFIDENCE * error and moved >= PAGE_BYTES),
    )
