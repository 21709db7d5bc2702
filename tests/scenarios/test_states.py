"""What goes wrong in front of a camera, and the states that tell of it.

Frames of the demo are localised once; the scenarios show them again in other orders.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_reloc
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.reasons import Fault, Reason
from edge_reloc.reference.truth import read_truth
from edge_reloc.running.demo import DEMO
from edge_reloc.running.loop import Between, run
from edge_reloc.running.state_machine import Rules
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.sources.paced import ReplaySource
from edge_reloc.structs import Frame, Localization, PoseEstimate, State, Status

PERIOD_NS = 100_000_000  # the demo's camera flies some metres a second
SHOWN = 24
WRONG_M, WRONG_DEG = 0.05, 0.5

S, T, D, L = State.SEARCHING, State.TRACKING, State.DEGRADED, State.LOST


class Known:
    """A localiser that has seen every image before."""

    def __init__(self, estimates: dict[str, PoseEstimate]) -> None:
        self._estimates = estimates

    def localize(self, frame: Frame) -> Localization:
        estimate = self._estimates[frame.name]
        return Localization(estimate=replace(estimate, t_ns=frame.t_ns, index=frame.index))

    def verify(self) -> None: ...


@pytest.fixture(scope="module")
def scene() -> Iterator[tuple[list[Frame], Known]]:
    """Frames by name, and by `kind/name` what became of them behind dirt of a kind."""
    frames = list(edge_reloc.open_source(DEMO / "frames"))[:SHOWN]
    with edge_reloc.open(DEMO / "map", DEMO / "camera.json", threads=1) as localizer:
        known = {f.name: localizer.localize(f).estimate for f in frames}
        for kind in ("dark", "covered", "blurred", "mirrored"):
            for frame in frames[:3]:
                shown = spoilt(frame, kind)
                known[shown.name] = localizer.localize(shown).estimate
    assert all(known[f.name].status is Status.OK for f in frames)
    yield frames, Known(known)


def spoilt(frame: Frame, kind: str) -> Frame:
    """A frame as it is seen through something."""
    generator, image = np.random.default_rng(frame.index), frame.image
    if kind == "dark":
        image = generator.integers(0, 6, image.shape, np.uint8)
    elif kind == "covered":
        image = np.full_like(image, 90) + generator.integers(0, 6, image.shape, np.uint8)
    elif kind == "blurred":
        image = cv2.GaussianBlur(image, (0, 0), 12.0)
    elif kind == "mirrored":
        image = np.ascontiguousarray(image[:, ::-1])
    return replace(frame, image=image, name=f"{kind}/{frame.name}")


class Shown:
    """Frames as a recording, at an even pace unless they say otherwise."""

    live, width, height, dropped, about = False, 640, 480, 0, "frames"

    def __init__(self, frames: Sequence[Frame], times: Sequence[int] | None = None) -> None:
        self.skipped: list[str] = []
        times = times or [i * PERIOD_NS for i in range(len(frames))]
        self._frames = [
            replace(f, t_ns=t, index=i) for i, (f, t) in enumerate(zip(frames, times, strict=True))
        ]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None: ...


def watched(
    scene: tuple[list[Frame], Known],
    frames: Sequence[Frame],
    times: Sequence[int] | None = None,
    **supervision: object,
) -> list[PoseEstimate]:
    """What is given out; the poses among it are right."""
    seen: list[PoseEstimate] = []
    run(
        scene[1],
        Shown(frames, times),  # type: ignore[arg-type]
        RunStatistics(),
        supervisor=Supervisor(**supervision),  # type: ignore[arg-type]
        watch=lambda frame, result: seen.append(result.estimate),
    )
    truth = read_truth(DEMO / "truth")
    for estimate in seen:
        assert estimate.state is not None
        if estimate.cam_from_world is not None:
            assert estimate.state in (T, D)
            error = pose_error(estimate.cam_from_world, truth[Path(estimate.name).name])
            assert error.translation < WRONG_M and error.rotation_deg < WRONG_DEG
    return seen


def states(estimates: Sequence[PoseEstimate]) -> list[tuple[State | None, int]]:
    """Each state and for how many frames."""
    return [(k, len(list(g))) for k, g in itertools.groupby(e.state for e in estimates)]


def test_frames_as_they_are(scene: tuple[list[Frame], Known]) -> None:
    seen = watched(scene, scene[0])
    assert states(seen) == [(S, 2), (T, SHOWN - 2)]
    assert [e.state_reason for e in seen[:3]] == [Reason.UNCONFIRMED, Reason.UNCONFIRMED, None]
    assert not seen[0].usable and seen[0].status is Status.OK and seen[0].reason is not None
    assert all(e.usable and e.reset_counter == 0 for e in seen[2:])


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        ("covered", None, Reason.FEW_FEATURES),
        ("dark", Reason.DARK, Reason.DARK),
        ("mirrored", None, None),
    ],
)
def test_nothing_to_see_for_two_seconds(
    scene: tuple[list[Frame], Known], kind: str, fault: Reason | None, reason: Reason | None
) -> None:
    """A covered lens, darkness, a place that is not the map's."""
    frames = scene[0]
    told = None if fault is None else Fault(reason=fault, text="no light", since_ns=0)
    bad = [replace(spoilt(frames[i % 3], kind), fault=told) for i in range(20)]
    seen = watched(scene, [*frames[:6], *bad, *frames[6:12]])
    assert states(seen) == [(S, 2), (T, 6), (D, 8), (L, 12), (T, 4)]
    assert all(e.cam_from_world is None for e in seen[6:28])
    assert seen[-1].reset_counter == 0
    if reason is not None:
        assert {e.state_reason for e in seen[6:26]} == {reason}


def test_a_burst_of_blurred_frames(scene: tuple[list[Frame], Known]) -> None:
    frames = scene[0]
    blurred = [spoilt(f, "blurred") for f in frames[:3]]
    two = watched(scene, [*frames[:6], *blurred[:2], *frames[8:14]])
    assert states(two) == [(S, 2), (T, 12)]
    four = watched(scene, [*frames[:6], *blurred, blurred[0], *frames[10:16]])
    assert states(four) == [(S, 2), (T, 6), (D, 4), (T, 4)]
    assert {e.state_reason for e in four[6:10]} == {Reason.BLURRED}


def test_a_frozen_camera_is_lost_although_its_picture_is_fine(
    scene: tuple[list[Frame], Known],
) -> None:
    frames = scene[0]
    fault = Fault(reason=Reason.FROZEN, text="the same picture again", since_ns=0)
    seen = watched(scene, [*frames[:6], *[replace(frames[5], fault=fault)] * 15, *frames[6:12]])
    assert states(seen) == [(S, 2), (T, 6), (D, 8), (L, 7), (T, 4)]
    assert {e.state_reason for e in seen[6:21]} == {Reason.FROZEN}


def test_a_wrong_map_is_never_believed(scene: tuple[list[Frame], Known]) -> None:
    """Poses of frames in no order are those of a map that fits nothing twice."""
    wrong = [spoilt(scene[0][i % 3], "mirrored") for i in range(30)]
    assert states(watched(scene, wrong)) == [(S, 30)]
    far = scene[0][:: SHOWN // 4]
    assert states(watched(scene, far * 5)) == [(S, len(far) * 5)]


def test_frames_that_are_shuffled_are_jumps(scene: tuple[list[Frame], Known]) -> None:
    frames = scene[0]
    order = list(range(6, SHOWN))
    random.Random(3).shuffle(order)
    seen = watched(scene, [*frames[:6], *(frames[i] for i in order)])
    assert seen[5].state is T and Reason.JUMP in {e.state_reason for e in seen[6:]}
    assert sum(e.usable for e in seen[6:]) < len(order) / 2


def test_a_teleport_is_believed_once_it_is_confirmed(scene: tuple[list[Frame], Known]) -> None:
    frames = scene[0]
    seen = watched(scene, [*frames[:6], *frames[SHOWN - 6 :]])
    assert [e.usable for e in seen[6:]] == [False, False, True, True, True, True]
    assert [e.reset_counter for e in seen[6:]] == [0, 0, 1, 1, 1, 1]
    assert {e.state for e in seen[2:]} == {T}


def test_half_the_rate(scene: tuple[list[Frame], Known]) -> None:
    frames = scene[0][::2]
    times = [i * 2 * PERIOD_NS for i in range(len(frames))]
    assert states(watched(scene, frames, times)) == [(S, 2), (T, len(frames) - 2)]


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_a_clock_step(scene: tuple[list[Frame], Known], step_s: int) -> None:
    times = [i * PERIOD_NS + (step_s * 10**9 if i >= 8 else 0) for i in range(SHOWN)]
    seen = watched(scene, scene[0], times)
    assert states(seen) == [(S, 2), (T, 6), (L, 2), (T, SHOWN - 10)]
    assert seen[-1].reset_counter == 0


def test_a_signal_ends_with_whole_lines_that_have_states(
    scene: tuple[list[Frame], Known], tmp_path: Path
) -> None:
    path, seen = tmp_path / "poses.jsonl", []

    def watch(frame: Frame, result: Localization) -> None:
        seen.append(frame)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    sink = edge_reloc.open_sink(path)
    run(
        scene[1],
        Shown(scene[0]),  # type: ignore[arg-type]
        RunStatistics(),
        sinks=[sink],
        watch=watch,
        supervisor=Supervisor(),
    )
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["state"] for line in lines] == ["SEARCHING"] * 2 + ["TRACKING"] * 3
    assert [line["cam_from_world"] is None for line in lines] == [True, True, False, False, False]


def test_poses_between_frames(scene: tuple[list[Frame], Known], tmp_path: Path) -> None:
    """At 50 Hz from frames at 10 Hz: marked, in order, near the truth, less and less sure."""
    path, statistics = tmp_path / "poses.jsonl", RunStatistics()
    sink = edge_reloc.open_sink(path)
    run(
        scene[1],
        Shown(scene[0]),  # type: ignore[arg-type]
        statistics,
        sinks=[sink],
        supervisor=Supervisor(filtered=True),
        between=Between(rate_hz=50.0),
    )
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    between = [line for line in lines if line["propagated"]]
    assert statistics.frames == SHOWN and len(lines) == SHOWN + len(between)
    assert len(between) == 4 * (SHOWN - 3)  # none before the first frame that is believed
    times = [line["t_ns"] for line in lines]
    assert times == sorted(times)
    assert all(line["state"] == "TRACKING" and line["inliers"] == 0 for line in between)
    sizes = np.array([np.trace(line["covariance"]) for line in between]).reshape(-1, 4)
    assert (np.diff(sizes, axis=1) > 0).all()


def test_photos_replayed_are_live_and_late_ones_are_dropped() -> None:
    source = edge_reloc.open_source(f"replay:{DEMO / 'frames'}", rate_hz=100.0)
    assert source.live
    frames, begun_ns = [], time.monotonic_ns()
    for frame in source:
        frames.append(frame)
        time.sleep(0.05)
    assert [f.name for f in frames] == [f"frame_{f.index:03d}.jpg" for f in frames]
    assert len(frames) + source.dropped == frames[-1].index + 1 == 80
    assert source.dropped > 40
    for frame, later in itertools.pairwise(frames):
        periods = later.index - frame.index
        assert later.t_ns - frame.t_ns >= periods * 10_000_000  # photos take time to read
        assert frame.received_ns is not None and frame.received_ns >= frame.t_ns > begun_ns


class Silent(ReplaySource):
    """A live source that falls silent for a moment before its last frames."""

    def __init__(self, frames: list[Frame], looks: int, fault: Fault | None) -> None:
        super().__init__(Shown(frames))
        self._looks, self._told, self._last = looks, fault, len(frames) - 5
        self._taken = -1  # number of the newest frame that was handed over

    def wait(self, timeout_s: float) -> Frame | None:
        self.fault = None
        if self._taken == self._last and self._looks > 0:
            self._looks -= 1
            self.fault = self._told
            self._begun_ns = (self._begun_ns or 0) + round(timeout_s * 1e9)
            time.sleep(timeout_s)
            return None
        frame = super().wait(timeout_s)
        if frame is not None:
            self._taken = frame.index
        return frame


@pytest.mark.parametrize("gone", [False, True], ids=["stale", "gone"])
def test_a_source_that_falls_silent_is_told_of_at_once(
    scene: tuple[list[Frame], Known], tmp_path: Path, gone: bool
) -> None:
    fault = Fault(reason=Reason.CAMERA_GONE, text="camera 0 is unplugged", since_ns=0)
    path = tmp_path / "poses.jsonl"
    sink, told = edge_reloc.open_sink(path), []
    source = Silent(scene[0][:10], 4, fault if gone else None)
    run(
        scene[1],
        source,
        RunStatistics(),
        sinks=[sink],
        supervisor=Supervisor(rules=Rules(stale_s=0.2, lost_s=0.6)),
        changed=told.append,
    )
    sink.close()
    reason = Reason.CAMERA_GONE if gone else Reason.STALE
    assert [(e.state, e.state_reason) for e in told] == [(D, reason), (L, reason)]
    assert all(e.cam_from_world is None and e.reason for e in told)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(k, len(list(g))) for k, g in itertools.groupby(line["state"] for line in lines)]
    assert found == [
        ("SEARCHING", 2),
        ("TRACKING", 4),
        ("DEGRADED", 1),
        ("LOST", 3),
        ("TRACKING", 2),
    ]
    assert all(
        line["age_ms"] > 0 and line["received_ns"]
        for line in lines
        if line["name"] and line["inliers"]
    )
