"""Where shares and medians of a few queries may lie by chance."""

from __future__ import annotations

import numpy as np
import pytest

from edge_reloc_export.benchmark.scoring import median_interval, share_interval


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Values of Wilson's interval, from its formula by hand and as tables print them.
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    assert share_interval(count, of) == pytest.approx((low, high), abs=1e-4)


def test_wilson_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.9):
        counts = rng.binomial(30, truth, 4000)
        inside = [
            low <= truth <= high for low, high in (share_interval(int(c), 30) for c in counts)
        ]
        assert 0.93 < np.mean(inside) < 0.98


@pytest.mark.parametrize(("n", "ranks"), [(5, (0, 4)), (6, (0, 5)), (10, (1, 8)), (25, (7, 17))])
def test_ranks_of_a_median(n: int, ranks: tuple[int, int]) -> None:
    """As tables of the sign test give them (Conover, Practical Nonparametric Statistics)."""
    assert median_interval(np.arange(n, dtype=np.float64)) == (ranks[0], ranks[1])


def test_a_median_that_may_be_at_infinity() -> None:
    errors = np.array([*range(7), *[np.inf] * 3], np.float64)
    assert median_interval(errors) == (1.0, None)
