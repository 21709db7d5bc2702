"""Which head a map uses by itself: decided on photos that neither head has learnt.

Accuracy first: the share of photos with a right pose, then how far off right poses are; then
time. What lies within the confidence interval of paired photos is a tie, and a tie goes to
`generative`, the published head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb

import numpy as np

from edge_reloc.arrays import F64, Bool
from edge_reloc.methods.visible_structure import CELLS, GENERATIVE

from ...benchmark.scoring import median_interval

FEWEST = 6  # photos for a median's interval of 95 %: half to the power of five is more than 2.5 %
# `cells` has to be so much faster before time decides: a few milliseconds are no reason, and
# would decide now so and now otherwise.
FASTER = 1.25
# And errors have to differ by this share of themselves: where both heads come to one pose, what
# is left between them is rounding, which may well be on one side.
SMALLER = 0.01

Interval = tuple[float, float]
UNKNOWN: Interval = (-np.inf, np.inf)


@dataclass(frozen=True, kw_only=True)
class HeadTrials:
    """What one head did with n photos that it has not learnt."""

    right: Bool  #: (n,): a pose, and near enough
    error: F64  #: (n,) of the position, map units; infinite without a pose
    seconds: F64  #: (n,) of the processor for the whole frame


@dataclass(frozen=True, kw_only=True)
class HeadChoice:
    """The default head, and the figures that chose it."""

    head: str
    reason: str
    photos: int
    right: dict[str, int]
    #: of the photos that both heads find, map units; None where there are none
    median_error: dict[str, float | None]
    milliseconds: dict[str, float]
    #: 95 %, `cells` less `generative`: of the share of right poses, and of the errors
    share_interval: Interval
    error_interval: Interval

    def told(self, unit: str) -> str:
        """One line."""
        heads = (GENERATIVE, CELLS)
        right = ", ".join(f"{head} {self.right[head]}" for head in heads)
        text = f"default head {self.head} ({self.reason}): of {self.photos} held-out photos right "
        text += right
        if (errors := self.median_error)[CELLS] is not None:
            text += ", median error " + " and ".join(f"{errors[h]:.3g}" for h in heads)
            low, high = self.error_interval
            text += f" {unit}"
            if np.isfinite((low, high)).all():
                text += f" (95 % of {CELLS} less {GENERATIVE}: {low:.2g} to {high:.2g})"
        return text + ", " + " and ".join(f"{self.milliseconds[h]:.0f}" for h in heads) + " ms"


def choose_head(trials: Mapping[str, HeadTrials]) -> HeadChoice:
    """Of the same photos with both heads, in the same order."""
    cells, generative = trials[CELLS], trials[GENERATIVE]
    share = paired_share_interval(cells.right, generative.right)
    both = cells.right & generative.right
    median = {n: float(np.median(t.error[both])) if both.any() else None for n, t in trials.items()}
    errors = paired_interval(cells.error[both] - generative.error[both])
    least = SMALLER * (median[GENERATIVE] or 0.0)
    _, slowest = paired_interval(cells.seconds / generative.seconds)
    if share[0] > 0 or share[1] < 0:
        head, reason = _better(share[0] > 0), "more right poses"
    elif errors[0] > least or errors[1] < -least:
        head, reason = _better(errors[1] < 0), "smaller errors"
    elif slowest < 1 / FASTER:
        head, reason = CELLS, "as accurate and faster"
    else:
        head, reason = GENERATIVE, "a tie"
    return HeadChoice(
        head=head,
        reason=reason,
        photos=len(both),
        right={name: int(t.right.sum()) for name, t in trials.items()},
        median_error=median,
        milliseconds={name: 1e3 * float(np.median(t.seconds)) for name, t in trials.items()},
        share_interval=share,
        error_interval=errors,
    )


def _better(cells: bool) -> str:
    return CELLS if cells else GENERATIVE


def paired_share_interval(first: Bool, second: Bool) -> Interval:
    """Of 95 %, for the difference of two shares among the same n photos.

    Given how many photos the two differ on (McNemar, Psychometrika 1947); exact, after Clopper
    and Pearson (Biometrika 1934).
    """
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    apart = gained + lost
    if apart == 0:
        return 0.0, 0.0
    scale = apart / len(first)
    low = _probability(gained, apart)
    high = 1 - _probability(lost, apart)
    return scale * (2 * low - 1), scale * (2 * high - 1)


def _probability(count: int, of: int) -> float:
    """The least with which `count` or more of so many are no surprise (2.5 %)."""
    if count == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        tail = sum(comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(count, of + 1))
        low, high = (middle, high) if tail < 0.025 else (low, middle)
    return low


def paired_interval(values: F64) -> Interval:
    """Of 95 %, for the median of paired differences or ratios (n,); unknown for too few."""
    values = np.sort(values[np.isfinite(values)])
    if len(values) < FEWEST:
        return UNKNOWN
    low, high = median_interval(values)
    assert low is not None and high is not None  # they are finite
    return low, high
