"""Measuring a run: percentiles in fixed memory, what the process holds."""

from .histogram import Histogram
from .memory import ProcessMemory, read_memory
from .statistics import RunStatistics, RunSummary, Spread

__all__ = [
    "Histogram",
    "ProcessMemory",
    "RunStatistics",
    "RunSummary",
    "Spread",
    "read_memory",
]
