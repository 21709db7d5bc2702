"""Run a session for a while, and measure what it takes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..memory.process import read_memory, resident_of_files
from ..running.budget import plan_footprint
from ..running.loop import Interruptible
from ..running.session import Session
from ..running.statistics import RunStatistics
from ..sinks import Sink
from ..sinks.lines import LineFile
from ..structs import Frame
from .faults import Faults, FaultySink, faulty_frames
from .growth import measure_growth
from .heap import PythonAllocations, heap_in_use, trace_allocations
from .history import History
from .power import PowerReader, PowerSummary
from .report import MemorySample, Profile

LATENCIES = 2000  # kept for the plot
SAMPLES = 400  # of memory
TRACED_FRAMES = 12


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """frames, seconds: whichever ends first, None for no limit. warm_up: frames before.

    sample_every: frames between memory samples. samples: file that gets each of them at
    once. allocations: trace Python's at the end. faults: a scenario.
    """

    frames: int | None
    seconds: float | None
    warm_up: int = 10
    sample_every: int = 10
    samples: Path | None = None
    allocations: bool = True
    faults: Faults | None = None


class Profiler:
    """Measures one open session."""

    def __init__(
        self,
        session: Session,
        options: ProfileOptions,
        cold_start_ms: dict[str, float],
        libraries_bytes: int,
    ) -> None:
        self._session, self._options = session, options
        self._cold_start_ms, self._libraries_bytes = cold_start_ms, libraries_bytes
        self._statistics = RunStatistics()
        self._latency = History(LATENCIES, 2)
        self._samples = History(SAMPLES, 4)
        self._power, self._sensors = PowerSummary(), PowerReader()
        self._sinks: list[Sink] = [FaultySink(options.faults)] if options.faults else []

    def run(self, show: Callable[[int, float], None] = lambda done, ms: None) -> Profile:
        """Until the limit or Ctrl-C. show(frames, last milliseconds) after every frame."""
        options, localizer = self._options, self._session.localizer
        begun, faults = time.monotonic(), 0.0
        measured = -options.warm_up
        with contextlib.ExitStack() as stack:
            journal = LineFile(options.samples) if options.samples else None
            if journal is not None:
                stack.callback(journal.close)
            interruptible = stack.enter_context(Interruptible())
            for frame in interruptible.frames(self._frames()):
                pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                start_ns = time.monotonic_ns()
                estimate = localizer.localize(frame).estimate
                end_ns = time.monotonic_ns()
                pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages
                localizer.verify()  # of no frame's time: in a run the pose is out by then
                ms = (end_ns - start_ns) * 1e-6
                measured += 1
                if measured == -options.warm_up + 1:
                    self._cold_start_ms["first frame"] = ms
                if measured <= 0:
                    begun = time.monotonic()
                    continue
                age = (end_ns - frame.t_ns) * 1e-6 if self._session.source.live else None
                self._statistics.add(replace(estimate, age_ms=age), ms)
                self._latency.add(measured, ms)
                faults += pages
                for sink in self._sinks:
                    sink.write(estimate)
                if measured % options.sample_every == 0:
                    self._sample(measured, journal)
                show(measured, ms)
                seconds = time.monotonic() - begun
                if measured == options.frames or (options.seconds and seconds > options.seconds):
                    break
        return self._report(faults / max(measured, 1))

    def _frames(self) -> Iterator[Frame]:
        frames = self._endless()
        return faulty_frames(frames, self._options.faults) if self._options.faults else frames

    def _endless(self) -> Iterator[Frame]:
        """The source's frames, begun again when they end; a live source never ends."""
        while True:
            some = False
            for frame in self._session.source:
                some = True
                yield frame
            if self._session.source.live or not some:
                return
            self._session.reopen_source()

    def _sample(self, frame: int, journal: LineFile | None) -> None:
        memory = read_memory()
        sample = MemorySample(
            frame=frame,
            rss_bytes=memory.rss_bytes,
            pss_bytes=memory.pss_bytes,
            heap_bytes=heap_in_use(),
        )
        self._samples.add(*(float("nan") if v is None else v for v in sample.values()))
        self._power.add(self._sensors.read())
        if journal is not None:
            journal.write(json.dumps({"time_s": round(time.time(), 1), **sample.__dict__}))

    def _report(self, page_faults: float) -> Profile:
        session, power = self._session, self._power
        samples, latency = self._samples.rows, self._latency.rows
        memory = read_memory()
        summary = self._statistics.summary(
            dropped=session.source.dropped,
            skipped=len(session.source.skipped),
            arena_bytes=session.localizer.arena_bytes,
            map_bytes=session.localizer.map_bytes,
            memory=memory,
        )
        return Profile(
            machine=_machine(),
            settings=asdict(session.localizer.settings),
            summary=summary,
            cold_start_ms={k: round(v, 2) for k, v in self._cold_start_ms.items()},
            footprint=plan_footprint(session.bundle, session.camera, session.localizer.settings),
            arena_bytes=session.localizer.arena_bytes,
            libraries_bytes=self._libraries_bytes,
            map_resident_bytes=resident_of_files(session.bundle.directory),
            samples=tuple(MemorySample.of(row) for row in samples),
            rss_growth=measure_growth(samples[:, 0], samples[:, 1]),
            heap_growth=measure_growth(samples[:, 0], samples[:, 3]),
            allocations=self._trace(),
            page_faults=round(page_faults, 2),
            latency_ms=tuple((int(frame), round(ms, 3)) for frame, ms in latency),
            rails_mw=power.rails_mw,
            temperature_deg=power.temperature_deg,
            clock_mhz=power.clock_mhz,
            gpu_clock_mhz=power.gpu_clock_mhz,
            throttled_share=power.throttled_share,
        )

    def _trace(self) -> PythonAllocations | None:
        if not self._options.allocations or self._session.source.live:
            return None
        frames = self._endless()
        image = next(frames)
        return trace_allocations(lambda: self._step(image), TRACED_FRAMES)

    def _step(self, frame: Frame) -> None:
        self._session.localizer.localize(frame)


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
