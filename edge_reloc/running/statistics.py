"""What a run came to: counts by status, percentiles by stage, memory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import one_line
from ..memory.process import ProcessMemory
from ..structs import PoseEstimate, State, Status
from .histogram import Histogram


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Percentiles of a duration over a run, milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, histogram: Histogram) -> Spread:
        """The spread of a histogram that is not empty."""
        return cls(
            p50_ms=round(histogram.percentile_ms(50), 3),
            p95_ms=round(histogram.percentile_ms(95), 3),
            p99_ms=round(histogram.percentile_ms(99), 3),
            max_ms=round(histogram.max_ms, 3),
        )


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """Counts, percentiles and memory of a whole run."""

    frames: int
    localized: int
    #: Frames by status, whether or not their poses were used.
    statuses: dict[str, int]
    #: Frames that a live source threw away because a newer one was there.
    dropped: int
    #: Files that could not be read.
    skipped: int
    #: The first frame, which also pays for warming up: left out of the percentiles.
    first_ms: float | None
    stages: dict[str, Spread]
    #: From taking in a frame to its pose.
    localize: Spread | None
    #: From a frame's capture to its pose, live only.
    age: Spread | None
    #: Poses a second, from the first frame's to the last's.
    frames_per_s: float | None = None
    #: Frames by state of the stream; empty where nobody watched over it.
    states: dict[str, int] = field(default_factory=dict)
    #: Of the stream's poses, that were confirmed.
    jumps: int = 0
    arena_bytes: int | None = None
    map_bytes: int | None = None
    memory: ProcessMemory = field(default_factory=ProcessMemory)
    #: Poses that a sink did not take in time, by its name.
    unwritten: dict[str, int] = field(default_factory=dict)
    #: Images that one did not take, and poses that its rate kept from it.
    unseen: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)

    def to_text(self) -> str:
        """A table for people."""
        share = 100.0 * self.localized / self.frames if self.frames else 0.0
        others = "  ".join(
            f"{name} {count}" for name, count in self.statuses.items() if name != Status.OK.value
        )
        lines = [
            f"frames     {self.frames}   localised {self.localized} ({share:.1f} %)"
            + (f"   {others}" if others else ""),
            f"dropped    {self.dropped}   unreadable {self.skipped}",
        ]
        if self.states:
            states = "  ".join(f"{name} {count}" for name, count in self.states.items())
            lines.append(f"states     {states}   jumps {self.jumps}")
        for name, count in self.unwritten.items():
            lines.append(f"unwritten  {count} poses, which {one_line(name)} did not take in time")
        for name, count in self.unseen.items():
            lines.append(f"unseen     {count} images, which {one_line(name)} did not take in time")
        for name, count in self.left_out.items():
            lines.append(f"left out   {count} poses, more than the rate of {one_line(name)}")
        rows = {**self.stages}
        if self.localize is not None:
            rows["localize"] = self.localize
        if self.age is not None:
            rows["frame age"] = self.age
        if rows:
            lines.append(f"{'ms':<10} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}")
        for name, s in rows.items():
            lines.append(
                f"{name:<10} {s.p50_ms:8.1f} {s.p95_ms:8.1f} {s.p99_ms:8.1f} {s.max_ms:8.1f}"
            )
        if self.frames_per_s is not None:
            lines.append(f"throughput {self.frames_per_s:.1f} frames/s")
        if self.first_ms is not None:
            lines.append(f"first frame {self.first_ms:.1f} ms, not in the table")
        lines.append(
            f"memory     buffers {megabytes(self.arena_bytes)}   map {megabytes(self.map_bytes)}"
            f"   process now {megabytes(self.memory.rss_bytes)}"
            f"   peak {megabytes(self.memory.peak_bytes)}"
        )
        return "\n".join(lines)


class RunStatistics:
    """Adds up a run frame by frame in memory that does not grow."""

    def __init__(self) -> None:
        self.frames = 0
        self._statuses = {status: 0 for status in Status}
        self._states: dict[State, int] = {}
        self._reset_counter = 0
        self.localized = 0  # poses that are to be used
        self._first_ms: float | None = None
        self._first_s = self._last_s = 0.0  # when the first and the last pose were there
        self._stages: dict[str, Histogram] = {}
        self._localize = Histogram()
        self._age = Histogram()

    def add(self, estimate: PoseEstimate, localize_ms: float) -> None:
        """Count one frame. localize_ms: wall time."""
        self.frames += 1
        self.localized += estimate.usable
        self._statuses[estimate.status] += 1
        self._reset_counter = estimate.reset_counter
        if estimate.state is not None:
            self._states[estimate.state] = self._states.get(estimate.state, 0) + 1
        self._last_s = time.monotonic()
        if self._first_ms is None:
            self._first_ms, self._first_s = localize_ms, self._last_s
            return
        self._localize.add(localize_ms)
        for stage, ms in estimate.stages_ms.items():
            self._stages.setdefault(stage, Histogram()).add(ms)
        if estimate.age_ms is not None:
            self._age.add(estimate.age_ms)

    def summary(
        self,
        *,
        dropped: int = 0,
        skipped: int = 0,
        arena_bytes: int | None = None,
        map_bytes: int | None = None,
        memory: ProcessMemory | None = None,
        unwritten: dict[str, int] | None = None,
        unseen: dict[str, int] | None = None,
        left_out: dict[str, int] | None = None,
    ) -> RunSummary:
        """The run so far."""
        return RunSummary(
            frames=self.frames,
            localized=self.localized,
            statuses={s.value: n for s, n in self._statuses.items() if n or s is Status.OK},
            states={s.value: self._states[s] for s in State if s in self._states},
            jumps=self._reset_counter,
            dropped=dropped,
            skipped=skipped,
            first_ms=None if self._first_ms is None else round(self._first_ms, 3),
            stages={stage: Spread.of(histogram) for stage, histogram in self._stages.items()},
            localize=Spread.of(self._localize) if self._localize.count else None,
            age=Spread.of(self._age) if self._age.count else None,
            frames_per_s=self._rate(),
            arena_bytes=arena_bytes,
            map_bytes=map_bytes,
            memory=memory or ProcessMemory(),
            unwritten=unwritten or {},
            unseen=unseen or {},
            left_out=left_out or {},
        )

    def _rate(self) -> float | None:
        seconds = self._last_s - self._first_s
        return round((self.frames - 1) / seconds, 2) if seconds > 0 else None


def megabytes(nbytes: int | None) -> str:
    """Bytes as MB (10^6) for people; a question mark when unknown."""
    return "?" if nbytes is None else f"{nbytes / 1e6:.1f} MB"
