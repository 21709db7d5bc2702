"""Percentiles in fixed memory, statistics of a run, process memory."""

from __future__ import annotations

import json
import math
import mmap
import sys
from dataclasses import replace

import numpy as np
import pytest

from edge_reloc.memory.process import read_memory
from edge_reloc.running.histogram import Histogram
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.structs import PoseEstimate, Status

BIN = 0.01  # relative; half a bin of quantisation on either side


@pytest.mark.parametrize("percent", [1, 50, 95, 99])
def test_percentiles_agree_with_sorting(percent: float) -> None:
    values = np.random.default_rng(0).lognormal(mean=3.0, sigma=1.0, size=20_000)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    expected = np.percentile(values, percent, method="inverted_cdf")
    assert histogram.percentile_ms(percent) == pytest.approx(expected, rel=BIN)
    assert histogram.max_ms == values.max()


def test_histogram_of_one_value() -> None:
    histogram = Histogram()
    histogram.add(40.0)
    assert histogram.percentile_ms(50) == pytest.approx(40.0, rel=BIN)
    assert histogram.percentile_ms(100) <= histogram.max_ms == 40.0


def test_histogram_is_empty_at_first() -> None:
    assert math.isnan(Histogram().percentile_ms(50))


@pytest.mark.parametrize("value", [-5.0, 0.0, 1e-9, 1e12])
def test_histogram_takes_what_clocks_can_say(value: float) -> None:
    histogram = Histogram()
    histogram.add(value)
    assert histogram.count == 1
    assert math.isfinite(histogram.percentile_ms(99))


def test_statistics_do_not_grow() -> None:
    statistics = RunStatistics()
    estimate = PoseEstimate(t_ns=0, status=Status.OK, stages_ms={"extract": 3.0, "solve": 1.0})
    sizes = []
    for _ in range(3):
        for _ in range(500):
            statistics.add(estimate, 4.0)
        stages = statistics._stages.values()
        sizes.append(sum(h._counts.nbytes for h in stages))
    assert len(set(sizes)) == 1


def test_summary_counts_what_happened() -> None:
    statistics = RunStatistics()
    frame = PoseEstimate(
        t_ns=0, status=Status.NO_FEATURES, stages_ms={"extract": 10.0}, age_ms=30.0
    )
    pose = replace(frame, status=Status.OK, cam_from_world=np.eye(4))
    for estimate in (pose, pose, frame, pose):
        statistics.add(estimate, 12.0)
    summary = statistics.summary(dropped=7, skipped=2, arena_bytes=1_000_000)
    assert (summary.frames, summary.localized) == (4, 3)
    assert summary.statuses == {"OK": 3, "NO_FEATURES": 1}
    assert summary.first_ms == 12.0
    assert summary.stages["extract"].p50_ms == pytest.approx(10.0, rel=BIN)
    assert summary.age is not None and summary.age.p99_ms == pytest.approx(30.0, rel=BIN)
    text = summary.to_text()
    for word in ("75.0 %", "NO_FEATURES 1", "dropped    7", "unreadable 2", "1.0 MB", "frame age"):
        assert word in text
    json.dumps(summary.to_json(), allow_nan=False)


def test_summary_of_no_frames() -> None:
    summary = RunStatistics().summary()
    assert "0.0 %" in summary.to_text()
    json.dumps(summary.to_json(), allow_nan=False)


def test_first_frame_pays_for_warming_up() -> None:
    statistics = RunStatistics()
    estimate = PoseEstimate(t_ns=0, status=Status.OK, stages_ms={})
    statistics.add(estimate, 5000.0)
    statistics.add(estimate, 10.0)
    summary = statistics.summary()
    assert summary.first_ms == 5000.0
    assert summary.localize is not None and summary.localize.max_ms == 10.0


def test_process_memory_sees_an_allocation() -> None:
    if sys.platform != "linux":
        assert read_memory().rss_bytes is None
        return
    before = read_memory()
    # Of the system, since an allocator may have pages left that other tests gave back.
    block = mmap.mmap(-1, 64 << 20)
    np.frombuffer(block, np.uint8)[:] = 1
    after = read_memory()
    assert before.rss_bytes is not None and after.rss_bytes is not None
    assert after.peak_bytes is not None and after.pss_bytes is not None
    assert after.rss_bytes - before.rss_bytes > len(block) // 2
    assert after.peak_bytes >= after.rss_bytes - (1 << 20)
    assert 0 < after.pss_bytes <= after.rss_bytes + (1 << 20)
