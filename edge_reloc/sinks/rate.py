"""A sink that takes only so many estimates a second."""

from __future__ import annotations

from ..structs import PoseEstimate, State
from .look import Draws, Look
from .sink import Sink

SECOND_NS = 1_000_000_000


class RateLimited:
    """Passes on at most `rate_hz` estimates a second of capture time, and every change of state."""

    def __init__(self, sink: Sink, rate_hz: float) -> None:
        self._sink, self._period_ns = sink, round(SECOND_NS / rate_hz)
        self._due_ns: int | None = None
        self._told: tuple[State | None, int] = None, 0
        #: estimates that came too soon
        self.left_out = 0

    def write(self, estimate: PoseEstimate) -> None:
        """Pass on, or leave out."""
        told = estimate.state, estimate.reset_counter
        due = self._due_ns
        # A clock that was put back begins anew.
        waits = due is not None and due - self._period_ns <= estimate.t_ns < due
        if waits and told == self._told:
            self.left_out += 1
            return
        if due is None or not waits:
            late = 0 if due is None else estimate.t_ns - due
            start = estimate.t_ns if due is None or not 0 <= late < self._period_ns else due
            self._due_ns = start + self._period_ns
        self._told = told
        self._sink.write(estimate)

    def close(self) -> None:
        self._sink.close()


class DrawingRateLimited(RateLimited):
    """The same for a sink that draws, as often as it says."""

    def __init__(self, sink: Draws, rate_hz: float) -> None:
        super().__init__(sink, rate_hz)
        self._drawing, self.looks_hz = sink, sink.looks_hz

    def draw(self, look: Look) -> None:
        """Pass on."""
        self._drawing.draw(look)


def at_most(sink: Sink, rate_hz: float) -> Sink:
    """A sink that gets at most so many estimates a second."""
    if isinstance(sink, Draws):
        return DrawingRateLimited(sink, rate_hz)
    return RateLimited(sink, rate_hz)
