"""Whether poses come often and fresh enough for the filter that takes them; told once."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SAMPLES = 10
OLDEST_MS = 500.0  # ArduPilot takes whatever is older for this old, PX4 drops it


class Wants(NamedTuple):
    """What a filter needs."""

    name: str
    #: between poses
    most_ms: float
    why: str


PX4 = Wants("PX4", 200.0, "begins to fuse below 200 ms and stops at 400 ms")
ARDUPILOT = Wants("ArduPilot", 250.0, "wants 4 a second, and none for 300 ms is unhealthy")


class Pace:
    """Of the poses that are sent, by their times. Gives each complaint once."""

    def __init__(self, wants: Wants) -> None:
        self._wants = wants
        self._last_ns: int | None = None
        self._gaps_ms: deque[float] = deque(maxlen=SAMPLES)
        self._told: set[str] = set()

    def sent(self, t_ns: int) -> str | None:
        """A pose of this time; what is wrong with the pace, None for nothing new."""
        if self._last_ns is not None and t_ns > self._last_ns:
            self._gaps_ms.append((t_ns - self._last_ns) * 1e-6)
        self._last_ns = t_ns
        usual_ms = sorted(self._gaps_ms)[len(self._gaps_ms) // 2] if self._gaps_ms else 0.0
        if len(self._gaps_ms) < SAMPLES or usual_ms <= self._wants.most_ms:
            return None
        return self._once(
            "slow",
            f"poses are {usual_ms:.0f} ms apart; {self._wants.name} {self._wants.why}: "
            f"localise faster, or --rate 30",
        )

    def late(self, age_ms: float) -> str | None:
        """A pose was too old to be sent."""
        return self._once(
            "late",
            f"a pose was {age_ms:.0f} ms old and was not sent ({OLDEST_MS:.0f} ms at most): it "
            f"would be taken for a younger one; localise faster, or --rate 30",
        )

    def interrupted(self) -> None:
        """No pose for a while, for reasons that have been told."""
        self._last_ns = None

    def _once(self, kind: str, text: str) -> str | None:
        if kind in self._told:
            return None
        self._told.add(kind)
        return text
