"""What the operating system says this process holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROC_SELF = Path("/proc/self")


@dataclass(frozen=True, kw_only=True)
class ProcessMemory:
    """Bytes, or None where the system does not tell."""

    #: Resident now, shared pages counted in full.
    rss_bytes: int | None = None
    #: The same with shared pages divided among their users.
    pss_bytes: int | None = None
    #: The highest `rss_bytes` since the process began.
    peak_bytes: int | None = None


def read_memory() -> ProcessMemory:
    """Memory of this process from Linux's /proc; all None elsewhere."""
    status = _kilobyte_fields(PROC_SELF / "status")
    rollup = _kilobyte_fields(PROC_SELF / "smaps_rollup")
    return ProcessMemory(
        rss_bytes=status.get("VmRSS"),
        pss_bytes=rollup.get("Pss"),
        peak_bytes=status.get("VmHWM"),
    )


def resident_bytes() -> int | None:
    """`rss_bytes` alone, in a fiftieth of the time."""
    return _kilobyte_fields(PROC_SELF / "status").get("VmRSS")


def resident_of_files(folder: Path) -> int | None:
    """Resident bytes of mapped files below a folder; None where not told."""
    try:
        lines = (PROC_SELF / "smaps").read_text().splitlines()
    except OSError:
        return None
    below, inside, total = f"{folder.resolve()}/", False, 0
    for line in lines:
        words = line.split(maxsplit=5)
        if "-" in words[0] and not words[0].endswith(":"):  # a mapping's own line
            inside = len(words) == 6 and words[5].startswith(below)
        elif inside and words[0] == "Rss:":
            total += int(words[1]) * 1024
    return total


def _kilobyte_fields(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    fields = {}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[2] == "kB":
            fields[words[0].rstrip(":")] = int(words[1]) * 1024
    return fields
