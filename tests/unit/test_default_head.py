"""The default head: decided by accuracy, then time; what proves nothing goes to the published."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from edge_reloc_export.training.visible_structure.default_head import (
    HeadTrials,
    choose_head,
    paired_interval,
    paired_share_interval,
)
from edge_reloc_export.training.visible_structure.session import VisibleStructureReport

PHOTOS = 30


def trials(
    right: int = PHOTOS, error: float = 0.01, seconds: float = 0.06, seed: int = 0
) -> HeadTrials:
    """Of photos whose errors and times scatter; the first ones are right."""
    scatter = np.random.default_rng(seed).normal(0, 1, (2, PHOTOS))
    found = np.arange(PHOTOS) < right
    return HeadTrials(
        right=found,
        error=np.where(found, error * np.exp(0.1 * scatter[0]), np.inf),
        seconds=seconds * np.exp(0.02 * scatter[1]),
    )


@pytest.mark.parametrize(
    ("cells", "generative", "head", "reason"),
    [
        pytest.param(
            trials(right=20), trials(right=28), "generative", "more right poses", id="share"
        ),
        pytest.param(trials(right=28), trials(right=20), "cells", "more right poses", id="share'"),
        pytest.param(
            trials(right=28, seconds=0.2, error=0.05),
            trials(right=20),
            "cells",
            "more right poses",
            id="the share before errors and time",
        ),
        pytest.param(
            trials(right=30),
            trials(right=26),
            "generative",
            "a tie",
            id="four prove nothing",
        ),
        pytest.param(trials(error=0.008), trials(), "cells", "smaller errors", id="errors"),
        pytest.param(trials(), trials(error=0.008), "generative", "smaller errors", id="errors'"),
        pytest.param(
            trials(error=0.02, seconds=0.02),
            trials(),
            "generative",
            "smaller errors",
            id="errors before time",
        ),
        pytest.param(
            trials(error=0.0099, seed=1), trials(seed=2), "generative", "a tie", id="errors tie"
        ),
        pytest.param(
            trials(error=0.01 * (1 - 1e-12)), trials(), "generative", "a tie", id="rounding"
        ),
        pytest.param(trials(seconds=0.04), trials(), "cells", "as accurate and faster", id="time"),
        pytest.param(
            trials(seconds=0.055), trials(), "generative", "a tie", id="a little time is none"
        ),
        pytest.param(trials(), trials(seconds=0.04), "generative", "a tie", id="faster, too"),
        pytest.param(trials(right=0), trials(right=0), "generative", "a tie", id="both find none"),
    ],
)
def test_the_better_head(cells: HeadTrials, generative: HeadTrials, head: str, reason: str) -> None:
    choice = choose_head({"generative": generative, "cells": cells})
    assert (choice.head, choice.reason) == (head, reason)


def test_few_photos_are_a_tie() -> None:
    def few(t: HeadTrials) -> HeadTrials:
        return HeadTrials(right=t.right[:5], error=t.error[:5], seconds=t.seconds[:5])

    cells, generative = few(trials(error=0.001, seconds=0.01)), few(trials())
    choice = choose_head({"generative": generative, "cells": cells})
    assert (choice.head, choice.reason) == ("generative", "a tie")


def test_the_interval_of_a_share_is_exact() -> None:
    right = np.ones(20, bool)
    other = right.copy()
    assert paired_share_interval(right, other) == (0, 0)
    other[:5] = False
    low, high = paired_share_interval(right, other)
    assert low < 0 < high == 0.25  # five of five: 2 * 0.5^5 is more than 5 %
    other[:6] = False
    low, high = paired_share_interval(right, other)
    # Clopper and Pearson of 6 of 6: 0.5407 to 1
    assert low == pytest.approx(0.3 * (2 * 0.5407 - 1), abs=1e-3) and high == 0.3
    assert paired_share_interval(other, right) == pytest.approx((-high, -low))


def test_the_interval_of_the_median_holds_it() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = paired_interval(generator.normal(1.0, 1.0, 15))
        held += low <= 1.0 <= high
    assert 0.93 < held / 400 < 0.995
    assert paired_interval(np.arange(5.0)) == (-np.inf, np.inf)


def test_the_report_says_so_in_one_line() -> None:
    choice = choose_head({"generative": trials(), "cells": trials(error=0.008)})
    report = VisibleStructureReport(heads={}, choice=choice, metric=True)
    (line,) = report.summary().splitlines()
    assert line.startswith(
        "default head cells (smaller errors): of 30 held-out photos right generative 30, cells 30, "
        "median error 0.0"
    )
    assert " m (95 % of cells less generative: -0.00" in line and line.endswith("60 ms")
    nothing = choose_head({"generative": trials(right=0), "cells": trials(right=0)})
    values = VisibleStructureReport(heads={}, choice=nothing).values()
    assert json.loads(json.dumps(values, allow_nan=False))["choice"]["error_interval"] == [None] * 2
