"""A short run of the fuzzer; CONTRIBUTING.md has the command of the long one."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from fuzz_bundles import REFUSED, fuzz

SEED = 20


@pytest.mark.parametrize(("kind", "count"), [("map", 80), ("city", 12), ("delta", 12)])
def test_what_is_spoilt_is_refused_or_answered(kind: str, count: int) -> None:
    report = fuzz(SEED, count=count, kind=kind)
    assert not report.wrong, "\n".join(report.wrong)
    assert report.tried == count and report.outcomes[REFUSED] > 0, report.outcomes
