"""What of a run is worth a line: changes of its state, and jumps of its poses."""

from __future__ import annotations

from typing import NamedTuple

from ..structs import PoseEstimate, State, Status

GOOD = (State.TRACKING, Status.OK)


class News(NamedTuple):
    """A line for a person."""

    text: str
    #: nothing to worry about
    good: bool
    #: of the stream, or of the frame where nobody watches over the stream
    state: State | Status
    #: whether that is another than before
    changed: bool


class Newsreel:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._state: State | Status | None = None
        self._jumps: int | None = None

    def of(self, estimate: PoseEstimate) -> News | None:
        """None where all is as before."""
        state, jumps = estimate.state or estimate.status, estimate.reset_counter
        changed, jumped = state != self._state, self._jumps not in (None, jumps)
        self._state, self._jumps = state, jumps
        if not changed and not jumped:
            return None
        why = estimate.state_reason.value if estimate.state_reason else estimate.reason
        text = f"{state.value}: {why}" if why else state.value
        if jumped:
            text += f"; the poses jumped (reset_counter {jumps})"
        return News(text, state in GOOD and not jumped, state, changed)
