"""Progress says what was counted, on a terminal and in a log."""

from __future__ import annotations

import io
import logging

import pytest

from edge_reloc_export import progress
from edge_reloc_export.progress import Bar, LogHandler, ProgressBar, open_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands for the time, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def test_a_log_gets_a_line_now_and_then(clock: Clock) -> None:
    log = io.StringIO()
    with Bar(200, "features", "photo", stream=log) as bar:
        for _ in range(200):
            clock.now += 0.5
            bar.update()
    lines = log.getvalue().splitlines()
    assert lines[0] == "features: 20 of 200 photos (10 %), 0:10 so far, about 1:30 left"
    assert lines[-1] == "features: 200 of 200 photos (100 %), 1:40"
    assert len(lines) == 10
    assert "\r" not in log.getvalue()


def test_slow_work_gets_a_line_a_minute(clock: Clock) -> None:
    log = io.StringIO()
    bar = Bar(100_000, "generative", "step", stream=log, done=50_000)
    for _ in range(120):
        clock.now += 1.0
        bar.update()
    lines = log.getvalue().splitlines()
    assert len(lines) == 2
    # What was done before an interruption took none of the time.
    assert lines[0] == "generative: 50060 of 100000 steps (50 %), 1:00 so far, about 13:52:20 left"


def test_short_work_and_hidden_work_say_nothing_in_a_log(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for shown, seconds in ((True, 0.1), (False, 100.0)):
        with open_bar(3, "features", "photo", shown=shown) as bar:
            for _ in range(3):
                clock.now += seconds
                bar.update()
    assert capsys.readouterr().err == ""


def test_work_that_is_cut_short_says_how_far_it_came(clock: Clock) -> None:
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Bar(10, "matching", "pair", stream=log) as bar:
        bar.update(4)
        clock.now += 30
        raise KeyboardInterrupt
    assert log.getvalue() == "matching: 4 of 10 pairs (40 %), 0:30\n"


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with Bar(4, "features", "photo", stream=terminal) as bar:
        bar.update(4)
    assert "features: 100%" in terminal.getvalue() and "4/4" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_no_value_is_shown_before_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with ProgressBar("scene coordinates", watched="median error px") as bar:
        bar(0, 100, None)
        assert "median error" not in terminal.getvalue()
        bar(99, 100, 0.000123)
        bar(100, 100, 0.000123)
    assert "median error px 0.000123" in terminal.getvalue()
    assert "100/100" in terminal.getvalue()


def test_a_bar_opens_anew_for_other_work(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar("recogniser")
    for total in (10, 20):
        for done in range(total + 1):
            bar(done, total, 0.5)
            clock.now += 10
    lines = capsys.readouterr().err.splitlines()
    assert "recogniser: 10 of 10 steps (100 %), 1:40, loss 0.5" in lines
    assert lines[-1] == "recogniser: 20 of 20 steps (100 %), 3:20, loss 0.5"


def test_log_lines_do_not_run_into_an_open_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with Bar(4, "features", "photo") as bar:
        bar.update(1)
        LogHandler().emit(logging.makeLogRecord({"msg": "skipped: one"}))
    assert "\rskipped: one\n" in terminal.getvalue().replace(" \r", "\r") or (
        "skipped: one\n" in terminal.getvalue().split("\r")
    )
