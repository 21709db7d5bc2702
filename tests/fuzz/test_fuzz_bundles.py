"""A short run of the fuzzer; CONTRIBUTING.md has the command of the long one."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from fuzz_bundles import REFUSED, fuzz

SEED, SECONDS = 20, 8
FEWEST = 3  # maps, on a machine that does much else
COUNT = 8  # of maps of tiles and of deltas each


def test_spoilt_maps_are_refused_or_answered() -> None:
    report = fuzz(SEED, seconds=SECONDS)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.tried >= FEWEST, report.outcomes
    assert report.outcomes[REFUSED] > 0


@pytest.mark.parametrize("kind", ["city", "delta"])
def test_spoilt_tiles_and_deltas_are_refused_or_answered(kind: str) -> None:
    report = fuzz(SEED, count=COUNT, kind=kind)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.tried == COUNT and report.outcomes[REFUSED] > 0, report.outcomes
