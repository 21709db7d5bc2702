"""Power mode, clocks and temperature: why a board may be slower than it could be."""

from __future__ import annotations

import re
from pathlib import Path

from .check import Check, note, ok
from .kernel_files import find, read_degrees, read_number, read_text, thermal_zones
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
    table = read_text(root, "etc/nvpmodel.conf") or ""
    modes = dict(re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", table))
    default = re.search(r"PM_CONFIG\s+DEFAULT=(\d+)", table)
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
    for clock in find(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        governor = read_text(root, f"{clock}/scaling_governor")
        top = read_number(root, f"{clock}/cpuinfo_max_freq")
        allowed = read_number(root, f"{clock}/scaling_max_freq")
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
    read = [(read_degrees(root, zone), zone) for zone in thermal_zones(root)]
    degrees, zone = max(((d, zone) for d, zone in read if d is not None), default=(None, ""))
    if degrees is None:
        return []
    kind = read_text(root, f"{zone}/type") or zone.split("/")[-1]
    found = f"{degrees:.0f} °C at most ({kind})"
    if degrees >= HOT_DEG:
        return [note("temperature", found, "cool the board: it slows down when it gets hotter")]
    return [ok("temperature", found)]
