"""Power, temperature and clocks, where the machine tells of them.

A Jetson's INA3221 sensors and thermal zones are files under /sys; another NVIDIA
GPU is asked through its management library. Both may be absent: then nothing is said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..diagnosis.kernel_files import find, read_degrees, read_number, read_text, thermal_zones

MACHINE = Path("/")  # this one
CLOCK = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"


@dataclass(frozen=True, kw_only=True)
class PowerSample:
    """What the sensors told at one moment; None where they do not."""

    #: Milliwatts by rail.
    rails_mw: dict[str, float]
    #: Of the hottest zone, or of the GPU.
    temperature_deg: float | None
    #: Of the first processor core.
    clock_mhz: float | None
    #: Of a Jetson's GPU.
    gpu_clock_mhz: float | None
    #: Something is slowed down to cool it.
    throttled: bool


class PowerSummary:
    """Of many samples: mean power by rail, the hottest, the slowest clocks."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = self._throttled = 0
        self.temperature_deg: float | None = None
        self.clock_mhz: float | None = None
        self.gpu_clock_mhz: float | None = None

    def add(self, sample: PowerSample) -> None:
        """Count one sample."""
        self._count += 1
        self._throttled += sample.throttled
        for name, milliwatts in sample.rails_mw.items():
            self._sums[name] = self._sums.get(name, 0.0) + milliwatts
        self.temperature_deg = _extreme(max, self.temperature_deg, sample.temperature_deg)
        self.clock_mhz = _extreme(min, self.clock_mhz, sample.clock_mhz)
        self.gpu_clock_mhz = _extreme(min, self.gpu_clock_mhz, sample.gpu_clock_mhz)

    @property
    def rails_mw(self) -> dict[str, float]:
        """Means; a rail that was silent in some samples counts as 0 there."""
        return {name: total / self._count for name, total in self._sums.items()}

    @property
    def throttled_share(self) -> float | None:
        """Share of the samples in which something was slowed down, or None."""
        return self._throttled / self._count if self._count else None


class PowerReader:
    """Finds the sensors of the machine below `root` once, then reads them."""

    def __init__(self, root: Path = MACHINE) -> None:
        self._root, self._rails, self._zones = root, list(_rails(root)), thermal_zones(root)
        # An Orin's GPU is called 17000000.gpu or 17000000.ga10b, a Thor's gpu-gpc-0.
        self._gpu_clock = find(root, "sys/class/devfreq/*g[pa][u1]*/cur_freq")[:1]
        coolers = find(root, "sys/class/thermal/cooling_device*")
        self._coolers = [c for c in coolers if "fan" not in (read_text(root, f"{c}/type") or "fan")]
        self._ask_nvml = root == MACHINE and not self._rails

    def read(self) -> PowerSample:
        """What the sensors tell now."""
        root, rails = self._root, {}
        for label, voltage, current in self._rails:
            millivolts, milliamperes = read_number(root, voltage), read_number(root, current)
            if millivolts is not None and milliamperes is not None:
                rails[label] = millivolts * milliamperes / 1000.0
        degrees = [read_degrees(root, zone) for zone in self._zones]
        temperature = max((d for d in degrees if d is not None), default=None)
        khz = read_number(root, CLOCK)
        hertz = read_number(root, self._gpu_clock[0]) if self._gpu_clock else None
        gpu = _Nvml.sample() if self._ask_nvml else None
        if gpu is not None:
            rails, temperature = {"GPU": gpu[0]}, gpu[1]
        return PowerSample(
            rails_mw=rails,
            temperature_deg=temperature,
            clock_mhz=None if khz is None else khz / 1000.0,
            gpu_clock_mhz=None if hertz is None else hertz / 1e6,
            throttled=any((read_number(root, f"{c}/cur_state") or 0) > 0 for c in self._coolers),
        )


def _rails(root: Path) -> Iterator[tuple[str, str, str]]:
    """Label, voltage file and current file of each channel of a Jetson."""
    for sensor in find(root, "sys/class/hwmon/hwmon*"):
        if read_text(root, f"{sensor}/name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            label = read_text(root, f"{sensor}/in{channel}_label")
            if label:
                yield label, f"{sensor}/in{channel}_input", f"{sensor}/curr{channel}_input"


def _extreme(
    choose: Callable[[float, float], float], one: float | None, other: float | None
) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return choose(one, other)


class _Nvml:
    """NVIDIA's management library, loaded once; absent on most machines.

    Not through nvidia-ml-py: as long, 2.4 MB in the measured process against 0.02,
    and silent where the driver is installed but the package is not.
    """

    _library: ctypes.CDLL | None = None
    _tried = False

    @classmethod
    def sample(cls) -> tuple[float, float] | None:
        """Milliwatts and degrees of the first GPU."""
        if not cls._tried:
            cls._tried = True
            try:
                library = ctypes.CDLL("libnvidia-ml.so.1")
                cls._library = None if library.nvmlInit_v2() else library
            except (OSError, AttributeError):
                cls._library = None
        if cls._library is None:
            return None
        device, milliwatts, degrees = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        failed = cls._library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
        failed = failed or cls._library.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts))
        failed = failed or cls._library.nvmlDeviceGetTemperature(device, 0, ctypes.byref(degrees))
        return None if failed else (float(milliwatts.value), float(degrees.value))
