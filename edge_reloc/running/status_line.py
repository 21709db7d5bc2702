"""What a person sees while a run goes on."""

from __future__ import annotations

import shutil
import time
from typing import Protocol

from ..geometry.rigid import camera_centre
from ..sources import Source
from ..structs import PoseEstimate, State
from .statistics import RunStatistics

TERMINAL_PERIOD_S = 0.1
LOG_PERIOD_S = 10.0


class StatusOut(Protocol):
    """What is used of a text stream."""

    def isatty(self) -> bool: ...
    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


class StatusLine:
    """One line that is overwritten on a terminal, a line every 10 s elsewhere."""

    def __init__(
        self, out: StatusOut, statistics: RunStatistics, source: Source, unit: str
    ) -> None:
        self._out, self._statistics, self._source, self._unit = out, statistics, source, unit
        self._terminal = out.isatty()
        self._period_s = TERMINAL_PERIOD_S if self._terminal else LOG_PERIOD_S
        self._next_s = time.monotonic() + (0.0 if self._terminal else self._period_s)
        self._shown = False
        self._state: State | None = None

    def update(self, estimate: PoseEstimate) -> None:
        """Show a frame, if the last one was shown long enough or the state is another."""
        now_s, state = time.monotonic(), estimate.state
        if now_s < self._next_s and state is self._state:
            return
        self._state = state
        self._next_s = now_s + self._period_s
        text = self._text(estimate)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            text = "\r" + text[:width].ljust(width)
        else:
            text += "\n"
        self._out.write(text)
        self._out.flush()
        self._shown = True

    def clear(self) -> None:
        """Leave the terminal's line empty for what comes next."""
        if self._terminal and self._shown:
            self._out.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            self._out.flush()

    def _text(self, estimate: PoseEstimate) -> str:
        statistics = self._statistics
        share = 100.0 * statistics.localized / max(statistics.frames, 1)
        if estimate.cam_from_world is None:
            what = estimate.reason or ""
        else:
            x, y, z = camera_centre(estimate.cam_from_world)
            what = f"x {x:.2f} y {y:.2f} z {z:.2f} {self._unit}  {estimate.inliers} inliers"
        line = (
            f"frame {estimate.index}  {share:.1f} % localised  "
            f"{sum(estimate.stages_ms.values()):.0f} ms  "
        )
        if self._source.live:
            line += f"dropped {self._source.dropped}  "
        if estimate.age_ms is not None:
            line += f"{estimate.age_ms:.0f} ms old  "
        if estimate.state is not None:
            why = estimate.state_reason
            line += estimate.state.value + ("  " if why is None else f" ({why.value})  ")
        return f"{line}{estimate.status.value}  {what}"
