"""The best of many by score, without sorting the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def best_first(score: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Rows of the `count` highest scores (N,), the highest first; of equals the first ones.

    As a stable sort would give them. What is not a number comes last.
    """
    falling = -score
    rows = np.arange(len(score))
    if count < len(score):
        last = np.partition(falling, count - 1)[count - 1]
        rows = np.flatnonzero(~(falling > last))  # all equals of the last one, too
    return rows[np.argsort(falling[rows], kind="stable")[:count]]
