"""A profile as data: what was measured, as figures with names and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from typing import Any

from ..running.budget import MIB, Footprint
from ..running.statistics import RunSummary, Spread
from .growth import Growth
from .heap import PythonAllocations


@dataclass(frozen=True, kw_only=True)
class MemorySample:
    """What the process held after a frame; None where unknown."""

    frame: int
    #: Of `ProcessMemory`.
    rss_bytes: int | None
    pss_bytes: int | None
    #: Allocated from the C library.
    heap_bytes: int | None

    def values(self) -> tuple[int | None, ...]:
        """In the order of the fields."""
        return astuple(self)

    @classmethod
    def of(cls, row: Iterable[float]) -> MemorySample:
        """Inverse of `values`, with NaN where a value is unknown."""
        frame, rss, pss, heap = (None if value != value else int(value) for value in row)
        return cls(frame=frame or 0, rss_bytes=rss, pss_bytes=pss, heap_bytes=heap)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Everything about one run; None where this machine does not tell."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    summary: RunSummary
    #: Steps before the first pose, in order.
    cold_start_ms: dict[str, float]
    #: What was planned.
    footprint: Footprint
    arena_bytes: int
    #: Resident before the map was opened.
    libraries_bytes: int
    #: Of the map's files, as far as they were touched.
    map_resident_bytes: int | None
    samples: tuple[MemorySample, ...]
    rss_growth: Growth
    heap_growth: Growth
    #: None where they were not traced.
    allocations: PythonAllocations | None
    #: Per frame, without disk.
    page_faults: float
    #: Frame numbers with milliseconds, of every frame or of evenly spread ones.
    latency_ms: tuple[tuple[int, float], ...]
    #: Mean milliwatts by rail; the rest as in `PowerSummary`.
    rails_mw: dict[str, float]
    temperature_deg: float | None
    clock_mhz: float | None
    gpu_clock_mhz: float | None
    throttled_share: float | None

    def figures(self) -> dict[str, float | None]:
        """The named figures that conditions and comparisons speak of."""
        summary, memory, traced = self.summary, self.summary.memory, self.allocations
        found: dict[str, float | None] = {}
        for name, spread in _spreads(summary):
            for part in ("p50", "p95", "p99", "max"):
                found[f"{name}{part}_ms"] = (
                    None if spread is None else getattr(spread, f"{part}_ms")
                )
        added = None if memory.peak_bytes is None else memory.peak_bytes - self.libraries_bytes
        return found | {
            "frames": summary.frames,
            "localized_share": summary.localized / max(summary.frames, 1),
            "dropped": summary.dropped,
            "first_ms": summary.first_ms,
            "cold_start_ms": sum(self.cold_start_ms.values()),
            "rss_mb": _mb(memory.rss_bytes),
            "pss_mb": _mb(memory.pss_bytes),
            "peak_mb": _mb(memory.peak_bytes),
            "added_mb": _mb(added),
            "planned_mb": _mb(self.footprint.nbytes),
            "borrowed_mb": _mb(self.borrowed_bytes),
            "map_resident_mb": _mb(self.map_resident_bytes),
            "arena_bytes": self.arena_bytes,
            "arena_unplanned_bytes": self.arena_bytes - self.footprint.arena_bytes,
            "growth_bytes": self.heap_growth.bytes,
            "rss_growth_bytes": self.rss_growth.bytes,
            "python_net_bytes": None if traced is None else traced.net_bytes,
            "python_transient_bytes": None if traced is None else traced.transient_bytes,
            "page_faults": self.page_faults,
            "power_mw": sum(self.rails_mw.values()) if self.rails_mw else None,
            "temperature_deg": self.temperature_deg,
            "clock_mhz": self.clock_mhz,
            "gpu_clock_mhz": self.gpu_clock_mhz,
            "throttled_share": self.throttled_share,
        }

    @property
    def borrowed_bytes(self) -> int | None:
        """Most that engine, OpenCV, numpy and Python held: all but arena and map."""
        peak, mapped = self.summary.memory.peak_bytes, self.map_resident_bytes
        if peak is None or mapped is None:
            return None
        return peak - self.libraries_bytes - self.arena_bytes - mapped

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        values = {name: value for name, value in self.__dict__.items() if name != "footprint"}
        plain = asdict_values(values)
        plain["footprint"] = self.footprint.to_json()
        plain["figures"] = self.figures()
        return plain

    def to_text(self) -> str:
        """A table for people."""
        lines = [self.summary.to_text(), ""]
        steps = ", ".join(f"{name} {ms:.0f}" for name, ms in self.cold_start_ms.items())
        lines.append(f"cold start {sum(self.cold_start_ms.values()):.0f} ms: {steps}")
        lines.append(f"{'memory, MiB':<14}{'planned':>10}")
        lines += [f"  {k:<12}{v / MIB:>10.2f}" for k, v in self.footprint.by_kind().items()]
        memory = self.summary.memory
        if memory.peak_bytes is not None:
            added = memory.peak_bytes - self.libraries_bytes
            lines.append(
                f"  {'total':<12}{self.footprint.nbytes / MIB:>10.2f}   used at most "
                f"{added / MIB:.2f} above the {self.libraries_bytes / MIB:.2f} of the libraries"
            )
        if self.borrowed_bytes is not None and self.map_resident_bytes is not None:
            lines.append(
                f"           of that arena {self.arena_bytes / MIB:.2f}, touched of the map "
                f"{self.map_resident_bytes / MIB:.2f}, engine, OpenCV, numpy and Python "
                f"{self.borrowed_bytes / MIB:.2f}"
            )
        lines.append(f"arena      {self.arena_bytes} bytes, planned {self.footprint.arena_bytes}")
        for name, growth in (("heap", self.heap_growth), ("resident", self.rss_growth)):
            lines.append(f"growth     {name} {growth.to_text()}")
        if self.allocations is not None:
            lines.append(f"python     {self.allocations.to_text()}")
        lines.append(f"faults     {self.page_faults:.1f} pages a frame")
        if self.rails_mw:
            lines.append(
                "power      " + ", ".join(f"{k} {v:.0f} mW" for k, v in self.rails_mw.items())
            )
        if self.temperature_deg is not None:
            lines.append(f"hottest    {self.temperature_deg:.0f} °C")
        clocks = (("processor", self.clock_mhz), ("GPU", self.gpu_clock_mhz))
        known = [f"{name} {mhz:.0f} MHz" for name, mhz in clocks if mhz is not None]
        if known:
            lines.append(f"clocks     at least {', '.join(known)}")
        if self.throttled_share:
            lines.append(f"throttled  in {self.throttled_share:.0%} of the samples")
        return "\n".join(lines)


def asdict_values(values: dict[str, Any]) -> dict[str, Any]:
    """Dataclasses inside a dictionary as dictionaries."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return None
    return value


def _spreads(summary: RunSummary) -> list[tuple[str, Spread | None]]:
    stages = [(f"{name}_", spread) for name, spread in summary.stages.items()]
    return [("", summary.localize), *stages, ("age_", summary.age)]


def _mb(nbytes: int | None) -> float | None:
    return None if nbytes is None else round(nbytes / 1e6, 3)
