"""A short run of the fuzzer; CONTRIBUTING.md has the command of the long one."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from fuzz_bundles import REFUSED, fuzz

SEED, SECONDS = 20, 12
FEWEST = 3  # maps, on a machine that does much else


def test_spoilt_maps_are_refused_or_answered() -> None:
    report = fuzz(SEED, seconds=SECONDS)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.tried >= FEWEST, report.outcomes
    assert report.outcomes[REFUSED] > 0
