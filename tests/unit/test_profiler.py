"""The parts of a profile: growth, history, allocations, conditions, faults, sensors."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest

from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.memory.process import resident_of_files
from edge_reloc.profiling.conditions import parse_condition
from edge_reloc.profiling.faults import Faults, FaultySink, faulty_frames, read_faults
from edge_reloc.profiling.growth import measure_growth
from edge_reloc.profiling.heap import heap_in_use, trace_allocations
from edge_reloc.profiling.history import History
from edge_reloc.profiling.power import PowerReader, PowerSummary
from edge_reloc.structs import Frame, PoseEstimate, Status

FRAMES = np.arange(0, 4000, 10)
CAMERA = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=31.5, cy=23.5)


def noise(scale: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, len(FRAMES))


def test_noise_is_no_growth_and_a_leak_is() -> None:
    for seed in range(20):
        assert measure_growth(FRAMES, 1e8 + noise(2e5, seed)).bytes == 0
        leak = measure_growth(FRAMES, 1e8 + 1500.0 * FRAMES + noise(2e5, seed))
        assert leak.bytes == pytest.approx(1.5e6, rel=0.15)


def test_a_repeating_pattern_is_no_growth() -> None:
    for cycle in (40, 80, 130, 700):
        saw = 3e5 * (FRAMES % cycle) / cycle
        assert measure_growth(FRAMES, 1e8 + saw).bytes == 0


def test_a_start_that_settles_is_no_growth() -> None:
    settled = 1e8 - 5e6 * np.exp(-FRAMES / 150.0) + noise(1e4)
    assert measure_growth(FRAMES, settled).bytes == 0


def test_a_constant_is_known_to_be_constant() -> None:
    growth = measure_growth(FRAMES, np.full(len(FRAMES), 1e8))
    assert growth.known and growth.bytes == 0


@pytest.mark.parametrize("samples", [0, 1, 14])
def test_few_samples_tell_nothing(samples: int) -> None:
    growth = measure_growth(FRAMES[:samples], FRAMES[:samples] * 1e5)
    assert growth.bytes is None
    assert "too few" in growth.to_text()


def test_unknown_values_are_left_out() -> None:
    values = 1e8 + 1500.0 * FRAMES
    values[::3] = np.nan
    assert measure_growth(FRAMES, values).bytes == pytest.approx(1.5e6, rel=1e-3)
    assert measure_growth(FRAMES, np.full(len(FRAMES), np.nan)).bytes is None


def test_history_spreads_over_a_run_of_any_length() -> None:
    for length in (1, 9, 10, 11, 95, 1234, 5000):
        history = History(10, 2)
        for number in range(length):
            history.add(number, -number)
        rows = history.rows
        assert len(rows) <= 10 and (length < 10 or len(rows) >= 5)
        assert (rows[:, 1] == -rows[:, 0]).all()
        assert rows[0, 0] == 0
        steps = np.diff(rows[:, 0])
        assert (steps == steps[:1]).all()
        assert length - rows[-1, 0] <= max(steps[0] if len(steps) else 1, 1)


def test_heap_counts_what_the_c_library_gives() -> None:
    before = heap_in_use()
    if before is None:
        pytest.skip("the C library does not tell")
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    block = libc.malloc(ctypes.c_size_t(40 << 20))
    held = heap_in_use()
    libc.free(block)
    after = heap_in_use()
    assert held is not None and after is not None
    assert held - before == pytest.approx(40 << 20, rel=0.02)
    assert abs(after - before) < 1 << 20


def test_resident_files_are_counted_as_far_as_they_are_touched(tmp_path: Path) -> None:
    if resident_of_files(tmp_path) is None:
        pytest.skip("the system does not tell")
    path = tmp_path / "large.npy"
    np.save(path, np.ones(1 << 20))
    assert resident_of_files(tmp_path) == 0
    mapped = np.lib.format.open_memmap(path, mode="r")
    mapped[: 1 << 19].sum()
    half = resident_of_files(tmp_path)
    mapped.sum()
    whole = resident_of_files(tmp_path)
    assert half is not None and whole is not None
    assert 4 << 20 <= half < whole and whole >= 8 << 20
    assert resident_of_files(tmp_path / "elsewhere") == 0


def test_allocations_that_stay_and_that_pass() -> None:
    kept: list[np.ndarray] = []

    def leaking() -> None:
        np.zeros(1 << 20, np.uint8)
        kept.append(np.zeros(10_000, np.uint8))

    traced = trace_allocations(leaking, 20)
    assert traced.net_bytes == pytest.approx(10_000, rel=0.1)
    assert 1 << 20 <= traced.transient_bytes < 1.2 * (1 << 20)
    line, size = traced.largest[0]
    assert line.startswith("unit/test_profiler.py:") and size >= 200_000
    assert trace_allocations(lambda: None, 20).net_bytes < 200


@pytest.mark.parametrize(
    ("text", "value", "failure"),
    [
        ("p99_ms<50", 49.9, None),
        ("p99_ms<50", 50.0, "p99_ms<50: p99_ms is 50"),
        ("growth_bytes == 0", 0, None),
        ("growth_bytes==0", 4096, "growth_bytes==0: growth_bytes is 4096"),
        ("growth_bytes==0", None, "growth_bytes==0: growth_bytes is unknown"),
        ("share>=0.95", 0.95, None),
        ("share>0.95", 0.95, "share>0.95: share is 0.95"),
        ("a!=-1e3", -1000.0, "a!=-1e3: a is -1000"),
    ],
)
def test_conditions(text: str, value: float | None, failure: str | None) -> None:
    condition = parse_condition(text)
    found = condition.failure({condition.figure: value})
    assert (found is None) == (failure is None)
    assert failure is None or (found or "").startswith(failure)


def test_conditions_that_are_none() -> None:
    for text in ("p99_ms", "p99_ms<", "<5", "p99_ms<fast", "p99_ms=5"):
        with pytest.raises(ConfigError, match="expected a comparison"):
            parse_condition(text)
    with pytest.raises(ConfigError, match="no figure 'p98_ms'; expected one of p99_ms"):
        parse_condition("p98_ms<5").failure({"p99_ms": 1.0})


def frames(count: int) -> list[Frame]:
    return [
        Frame(image=np.full((48, 64), k, np.uint8), t_ns=k, camera=CAMERA, index=k, name=str(k))
        for k in range(1, count + 1)
    ]


def test_frames_are_dropped_frozen_and_corrupted() -> None:
    dropped = list(faulty_frames(frames(10), Faults(drop_every=3)))
    assert [f.index for f in dropped] == [1, 2, 4, 5, 7, 8, 10]
    frozen = list(faulty_frames(frames(8), Faults(freeze_every=4, freeze_frames=2)))
    assert [int(f.image[0, 0]) for f in frozen] == [1, 2, 3, 4, 4, 4, 7, 8]
    assert [f.index for f in frozen] == list(range(1, 9))
    whole = frames(4)
    corrupt = list(faulty_frames(whole, Faults(corrupt_every=2)))
    assert [len(np.unique(f.image[24:])) > 100 for f in corrupt] == [False, True, False, True]
    assert all((f.image[:24] == f.index).all() for f in corrupt)
    assert all((f.image == f.index).all() for f in whole)  # the source's own stay whole


def test_a_sink_that_fills_its_disk() -> None:
    sink = FaultySink(Faults(sink_fails_after=2))
    estimate = PoseEstimate(t_ns=0, status=Status.OK)
    sink.write(estimate)
    sink.write(estimate)
    with pytest.raises(SinkError, match="after 2 poses"):
        sink.write(estimate)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected an object with some of drop_every"),
        ('{"drop": 3}', "expected an object with some of drop_every"),
        ('{"drop_every": "often"}', "'drop_every' is 'often', expected a number >= 0"),
        ('{"slow_sink_ms": -1}', "'slow_sink_ms' is -1"),
        ("{", "not a readable scenario"),
    ],
)
def test_scenarios_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_faults(path)


def test_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps({"drop_every": 7, "slow_sink_ms": 1.5}))
    assert read_faults(path) == Faults(drop_every=7, slow_sink_ms=1.5)


def fake_jetson(root: Path) -> None:
    """The files of an Orin's power monitor, thermal zones and clock."""
    files = {
        "sys/class/hwmon/hwmon0/name": "tmp102",
        "sys/class/hwmon/hwmon1/name": "ina3221",
        "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
        "sys/class/hwmon/hwmon1/in1_input": "5000",
        "sys/class/hwmon/hwmon1/curr1_input": "1800",
        "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
        "sys/class/hwmon/hwmon1/in2_input": "5000",
        "sys/class/hwmon/hwmon1/curr2_input": "640",
        "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC",
        "sys/class/hwmon/hwmon1/curr3_input": "100",  # a channel without its voltage
        "sys/class/thermal/thermal_zone0/temp": "48500",
        "sys/class/thermal/thermal_zone1/temp": "52250",
        "sys/class/thermal/thermal_zone2/temp": "-256000",  # a zone that is switched off
        "sys/class/thermal/cooling_device0/type": "pwm-fan",
        "sys/class/thermal/cooling_device0/cur_state": "3",
        "sys/class/thermal/cooling_device1/type": "devfreq-17000000.gpu",
        "sys/class/thermal/cooling_device1/cur_state": "0",
        "sys/class/devfreq/17000000.gpu/cur_freq": "918000000",
        "sys/class/devfreq/8188000.dla/cur_freq": "1",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1510400",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_power_of_a_jetson(tmp_path: Path) -> None:
    fake_jetson(tmp_path)
    sensors = PowerReader(tmp_path)
    sample = sensors.read()
    assert sample.rails_mw == {"VDD_IN": 9000.0, "VDD_CPU_GPU_CV": 3200.0}
    assert sample.temperature_deg == 52.25
    assert sample.clock_mhz == pytest.approx(1510.4)
    assert sample.gpu_clock_mhz == pytest.approx(918.0)
    assert not sample.throttled
    summary = PowerSummary()
    summary.add(sample)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").write_text("1000")
    (tmp_path / "sys/class/thermal/thermal_zone1/temp").write_text("40000")
    (tmp_path / "sys/class/thermal/cooling_device1/cur_state").write_text("2")
    (tmp_path / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("306000000")
    summary.add(sensors.read())
    assert summary.rails_mw["VDD_IN"] == 7000.0
    assert summary.temperature_deg == 52.25
    assert summary.gpu_clock_mhz == pytest.approx(306.0)
    assert summary.throttled_share == 0.5


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    sample = PowerReader(tmp_path).read()
    assert (sample.rails_mw, sample.temperature_deg, sample.clock_mhz) == ({}, None, None)
    assert sample.gpu_clock_mhz is None and not sample.throttled
    assert PowerSummary().throttled_share is None
