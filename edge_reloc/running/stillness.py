"""Whether a camera stands still, by its last measured poses.

Poses of a camera that stands still differ by their own errors alone: what they get wrong
together stays. So they scatter no wider than those, and drift nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .fix import Fix, difference, root

MOST, LEAST, LONGEST_NS = 15, 8, 1_000_000_000  # measurements to judge by, and their time
# Chi-square of 6 (M - 1) degrees of freedom exceeds its mean by that in one of twenty; of 6,
# the second number in one of two hundred.
SCATTER, DRIFT = 1.25, 18.5


def last_ones(fixes: Sequence[Fix]) -> list[Fix]:
    """Those to judge by, of all in order of time."""
    return [fix for fix in fixes[-MOST:] if fixes[-1].t_ns - fix.t_ns <= LONGEST_NS]


def stands_still(fixes: Sequence[Fix], own: float) -> bool:
    """Whether M measurements may be of one pose.

    own: share of their variance that belongs to each alone.
    """
    if len(fixes) < LEAST:
        return False
    last = fixes[-1]
    whitened = np.linalg.inv(np.sqrt(own) * root(last.covariance))
    bound = SCATTER * 6 * (len(fixes) - 1)
    first = whitened @ difference(fixes[0].cam_from_world, last.cam_from_world)
    if first @ first > bound:  # cheap, and most moving cameras end here
        return False
    away = np.stack([difference(fix.cam_from_world, last.cam_from_world) for fix in fixes])
    away = (away - away.mean(axis=0)) @ whitened.T
    t_s = np.array([(fix.t_ns - last.t_ns) * 1e-9 for fix in fixes])
    t_s -= t_s.mean()
    drift = t_s @ away / np.linalg.norm(t_s)
    return bool(np.sum(away * away) <= bound and drift @ drift <= DRIFT)
