"""Measuring a run: percentiles in fixed memory, what the process holds."""

from ..memory.process import ProcessMemory, read_memory
from .histogram import Histogram
from .statistics import RunStatistics, RunSummary, Spread

__all__ = [
    "Histogram",
    "ProcessMemory",
    "RunStatistics",
    "RunSummary",
    "Spread",
    "read_memory",
]
