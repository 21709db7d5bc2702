"""A camera whose driver queues frames: the newest is taken, and what passed is counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import cv2

BUFFERS = 3  # one that fills, one that waits, one that is read: with fewer frames find none free
PACE = 8  # frames that say how fast the camera is now: light changes that in a second
FRESH = 300  # frames among which one did not wait; few enough for clocks that drift apart
SURELY_LOST = 1.5  # periods between two frames; stamps jitter by less than half a period


class QueuedCapture:
    """`cv2.VideoCapture` of a device, by the time stamps of its driver.

    A frame that waited in the queue for a period or longer has a newer one behind it, and is
    passed over. A gap between two stamps is as many lost frames as periods fit into it; the
    period is the shortest of late, so that a camera that slows in the dark loses none. Stamps
    may be of any clock that runs like ours; a driver without any is taken as it comes.
    rate_hz: nominal, 0 for unknown. now_ms: our clock.
    """

    def __init__(
        self,
        capture: Any,
        rate_hz: float = 0.0,
        now_ms: Callable[[], float] = lambda: time.monotonic_ns() * 1e-6,
    ) -> None:
        self._capture, self._now_ms = capture, now_ms
        self._shortest_ms = 1e3 / rate_hz if rate_hz > 0 else 0.0
        self._stamp_ms: float | None = None
        self._taken_ms = now_ms()
        self._gaps_ms: deque[float] = deque(maxlen=PACE)
        self._delays_ms: deque[float] = deque(maxlen=FRESH)
        self._lost = 0

    def grab(self) -> bool:
        """Take the newest frame, or wait for one; False when the camera is gone."""
        before_ms, begun_ms = self._stamp_ms, self._taken_ms
        found = self._grab()
        for _ in range(BUFFERS):
            if not found or self._waited_ms() < self._period_ms():
                break
            found = self._grab()
        else:  # more than the queue holds: one of the clocks was set
            self._delays_ms.clear()
        self._taken_ms = self._now_ms()
        self._lost = self._passed(before_ms, self._taken_ms - begun_ms)
        return found

    def lost(self) -> int:
        """Frames between the last two taken, as far as the driver tells."""
        return self._lost

    def retrieve(self) -> tuple[bool, Any]:
        found, image = self._capture.retrieve()
        return bool(found), image

    def release(self) -> None:
        self._capture.release()

    def _grab(self) -> bool:
        """The next frame of the queue, and what its stamp says."""
        found = bool(self._capture.grab())
        stamp_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        before_ms, self._stamp_ms = self._stamp_ms, stamp_ms if stamp_ms > 0 else None
        if self._stamp_ms is not None and before_ms is not None and stamp_ms > before_ms:
            self._gaps_ms.append(stamp_ms - before_ms)
            self._delays_ms.append(self._now_ms() - stamp_ms)
        return found

    def _period_ms(self) -> float:
        """Of the camera now: in the dark it exposes longer than its nominal rate allows."""
        return max(self._shortest_ms, min(self._gaps_ms, default=0.0))

    def _waited_ms(self) -> float:
        """How long the frame was in the queue, from how much later it is than others were."""
        return self._delays_ms[-1] - min(self._delays_ms) if self._delays_ms else -1.0

    def _passed(self, before_ms: float | None, elapsed_ms: float) -> int:
        """Frames since the stamp before, no more than our own clock has room for."""
        period_ms = self._period_ms()
        if before_ms is None or self._stamp_ms is None or period_ms <= 0:
            return 0
        gap = min(self._stamp_ms - before_ms, elapsed_ms + BUFFERS * period_ms) / period_ms
        return round(gap) - 1 if gap > SURELY_LOST else 0
