"""Power mode, clocks and temperature: why a board may be slower than it could be."""

from __future__ import annotations

import re
from pathlib import Path

from .check import Check, note, ok, read_number, read_text
from .system import Jetson

HOT_DEG = 85.0  # Orin throttles from 99 °C on


def check_power(root: Path, jetson: Jetson | None) -> list[Check]:
    """Power mode (Jetson only), processor clocks, temperature."""
    checks = []
    if jetson is not None:
        checks.append(_power_mode(root))
    checks += _clocks(root)
    return checks + _temperature(root)


def _power_mode(root: Path) -> Check:
    status = re.search(r"pmode:0*(\d+)", read_text(root, "var/lib/nvpmodel/status") or "")
    modes = dict(
        re.findall(
            r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", read_text(root, "etc/nvpmodel.conf") or ""
        )
    )
    default = re.search(r"PM_CONFIG\s+DEFAULT=(\d+)", read_text(root, "etc/nvpmodel.conf") or "")
    number = status[1] if status else default[1] if default else None
    if number is None:
        return note("power mode", "unknown", "sudo nvpmodel -q")
    name = modes.get(number, f"number {number}")
    fastest = next((n for n, called in modes.items() if called.startswith("MAXN")), None)
    if fastest is None or name.startswith("MAXN"):
        return ok("power mode", name)
    return note(
        "power mode",
        f"{name}, not the fastest",
        f"sudo nvpmodel -m {fastest} ({modes[fastest]}), then sudo jetson_clocks",
    )


def _clocks(root: Path) -> list[Check]:
    governors, slow, total = set(), 0, 0
    for core in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*")):
        base = f"sys/devices/system/cpu/{core.name}/cpufreq"
        governor = read_text(root, f"{base}/scaling_governor")
        top = read_number(root, f"{base}/cpuinfo_max_freq")
        allowed = read_number(root, f"{base}/scaling_max_freq")
        if governor is None:
            continue
        governors.add(governor)
        total += 1
        slow += bool(top and allowed and allowed < top)
    if not governors:
        return []
    found = f"{total} cores, governor {', '.join(sorted(governors))}"
    if slow:
        found += f", {slow} held below their highest clock"
    if "powersave" in governors or slow:
        return [note("clocks", found, "sudo cpupower frequency-set -g performance, or power mode")]
    return [ok("clocks", found)]


def _temperature(root: Path) -> list[Check]:
    hottest: tuple[float, str] | None = None
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        base = f"sys/class/thermal/{zone.name}"
        value = read_number(root, f"{base}/temp")
        if value is None or not -40_000 < value < 200_000:
            continue  # zones that are switched off tell nonsense or nothing
        kind = read_text(root, f"{base}/type") or zone.name
        hottest = max(hottest or (-1e9, ""), (value / 1000.0, kind))
    if hottest is None:
        return []
    found = f"{hottest[0]:.0f} °C at most ({hottest[1]})"
    if hottest[0] >= HOT_DEG:
        return [note("temperature", found, "cool the board: it slows down when it gets hotter")]
    return [ok("temperature", found)]
