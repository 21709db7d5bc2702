"""Times of a stream, whose clock is not ours, in our time."""

from __future__ import annotations

from collections import deque

WINDOW = 300  # frames among which one came without waiting; few enough for clocks that drift
JUMP_NS = 1_000_000_000  # between two frames: the stream's clock was set, or it began anew


class StreamClock:
    """Presentation times set to our clock by the frame that came with the least delay.

    What a stream's times keep, and arrivals do not, is how far frames lie apart: a network
    that holds some back and hands them over at once does not show. The delay that all of
    them have is unknown and stays in: a camera's latency.
    """

    def __init__(self) -> None:
        self._offsets_ns: deque[int] = deque(maxlen=WINDOW)
        self._last_ns: int | None = None

    def stamp(self, presented_ns: int | None, received_ns: int) -> int:
        """Our time of a frame that its stream presents at `presented_ns`; never after its
        arrival. None: the stream says nothing of this frame, which is as old as it is new.
        """
        if presented_ns is None:
            return received_ns
        if self._last_ns is None or abs(presented_ns - self._last_ns) > JUMP_NS:
            self._offsets_ns.clear()
        self._last_ns = presented_ns
        self._offsets_ns.append(received_ns - presented_ns)
        return presented_ns + min(self._offsets_ns)
