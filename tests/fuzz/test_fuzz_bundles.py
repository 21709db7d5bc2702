"""A short run of the fuzzer; CONTRIBUTING.md has the command of the long one."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from fuzz_bundles import REFUSED, fuzz

SEED = 20
FEWEST = 3  # maps, on a machine that does much else
#: of all kinds together no longer than the tests of one folder take
SECONDS = {"map": 12, "city": 6, "delta": 6}


@pytest.mark.parametrize("kind", SECONDS)
def test_what_is_spoilt_is_refused_or_answered(kind: str) -> None:
    report = fuzz(SEED, seconds=SECONDS[kind], kind=kind)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.tried >= (FEWEST if kind == "map" else 1), report.outcomes
    assert report.outcomes[REFUSED] > 0
