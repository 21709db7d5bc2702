"""The newest frame of a driver's queue is taken, and every lost one is counted."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import pytest

from edge_reloc.sources.queued import BUFFERS, PACE, QueuedCapture

PERIOD_MS = 1000 / 30
STAMP_OFFSET_MS = 5e6  # the driver's clock began at another time
JITTER_MS = 3.0  # of the stamps, less than a tenth of the period


class Driver:
    """A camera with a queue, in a time of its own: a frame without a free buffer is lost."""

    def __init__(self, buffers: int = BUFFERS, period_ms: float = PERIOD_MS) -> None:
        self.now_ms, self.made, self.lost = 0.0, 0, 0
        self.period_ms, self._next_ms = period_ms, period_ms
        self._buffers, self._queue, self._held = buffers, deque[float](), 0
        self._stamp_ms = 0.0
        self._noise = np.random.default_rng(0)
        self.stamped, self._broken = True, 0
        self.offset_ms = STAMP_OFFSET_MS

    def break_next(self, frames: int) -> None:
        self._broken = frames

    def pass_time(self, ms: float) -> None:
        self.now_ms += ms
        while self._next_ms <= self.now_ms:
            self.made += 1
            if self._broken:
                self._broken -= 1
            elif len(self._queue) + self._held < self._buffers:
                jitter = self._noise.uniform(-JITTER_MS, JITTER_MS)
                self._queue.append(self._next_ms - self.period_ms + jitter)
            else:
                self.lost += 1
            self._next_ms += self.period_ms

    def grab(self) -> bool:
        self._held = 0
        while not self._queue:
            self.pass_time(self._next_ms - self.now_ms)
        self._stamp_ms, self._held = self._queue.popleft(), 1
        return True

    def get(self, what: int) -> float:
        assert what == cv2.CAP_PROP_POS_MSEC
        return self._stamp_ms + self.offset_ms if self.stamped else 0.0

    @property
    def age_ms(self) -> float:
        """Of the frame at hand, since the end of its exposure."""
        return self.now_ms - self._stamp_ms - self.period_ms


def capture_of(driver: Driver, rate_hz: float = 30.0) -> QueuedCapture:
    return QueuedCapture(driver, rate_hz, now_ms=lambda: driver.now_ms)


def test_a_reader_that_keeps_up_loses_nothing_and_gets_every_frame() -> None:
    driver = Driver()
    capture = capture_of(driver)
    for number in range(100):
        assert capture.grab() and capture.lost() == 0
        assert driver.made == number + 1
        driver.pass_time(0.8 * PERIOD_MS)  # to decode it
    assert driver.lost == 0


@pytest.mark.parametrize("work_ms", [45.0, 80.0, 250.0])
def test_a_slow_reader_gets_the_newest_and_knows_what_it_missed(work_ms: float) -> None:
    driver = Driver()
    capture = capture_of(driver)
    for _ in range(5):
        assert capture.grab()
    made, taken, lost = driver.made, 0, 0
    for _ in range(60):
        driver.pass_time(work_ms)
        assert capture.grab()
        assert driver.age_ms < PERIOD_MS + 2 * JITTER_MS
        taken, lost = taken + 1, lost + capture.lost()
    assert taken + lost == pytest.approx(driver.made - made, abs=1)


def test_frames_that_the_cable_loses_are_counted() -> None:
    driver = Driver()
    capture = capture_of(driver)
    lost, broken = 0, 0
    for number in range(60):
        assert capture.grab()
        lost += capture.lost()
        if number % 5 == 4:
            broken += 1 + number % 2
            driver.break_next(1 + number % 2)
    assert lost == broken - (1 + 59 % 2)  # the last ones come after the last frame


def test_a_camera_that_slows_in_the_dark_loses_nothing_for_long() -> None:
    driver = Driver()
    capture = capture_of(driver)
    for _ in range(20):
        capture.grab()
    driver.period_ms *= 2
    lost = []
    for _ in range(40):
        capture.grab()
        lost.append(capture.lost())
    assert sum(lost[PACE + 1 :]) == 0


def test_a_clock_that_is_set_costs_a_few_frames_once() -> None:
    driver = Driver()
    capture = capture_of(driver)
    for _ in range(20):
        capture.grab()
    for step_ms in (-1e6, 2e6, -500.0):
        driver.offset_ms += step_ms
        made = driver.made
        for _ in range(100):
            assert capture.grab()
            assert capture.lost() <= 2 * BUFFERS
        assert driver.made - made <= 100 + BUFFERS


def test_a_driver_without_stamps_is_taken_as_it_comes() -> None:
    driver = Driver()
    driver.stamped = False
    capture = capture_of(driver)
    for number in range(30):
        assert capture.grab() and capture.lost() == 0
        assert driver.made == number + 1


def test_an_unplugged_camera_ends() -> None:
    class Gone(Driver):
        def grab(self) -> bool:
            return self.made < 5 and super().grab()

    capture = capture_of(Gone())
    taken = 0
    while capture.grab():
        taken += 1
    assert taken == 5
