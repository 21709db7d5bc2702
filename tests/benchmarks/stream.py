"""Photos of a moving camera as a live stream: delays, states, tracking, smoothness.

    python tests/benchmarks/stream.py --map maps/kitchen --photos DATA/kitchen/images \
        --list DATA/kitchen/queries.txt --reference DATA/kitchen/reference --output out

The photos must be consecutive frames. Prints: what a tracked frame costs against a searched
one (processor time, in alternation) and how exact both are; the same frames as a live stream
at 30 Hz; what is given out when one frame in ten is blurred and when it is dark for two
seconds; and the jitter of a camera that stands still. Writes states.png and a line a frame.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import unittest.mock
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

import edge_reloc
from edge_reloc.geometry.rigid import camera_centre, normalised_error, pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.reasons import Fault, Reason
from edge_reloc.reference.truth import read_truth
from edge_reloc.running.loop import run
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.running.supervisor import Supervisor, metre_of
from edge_reloc.sources.freshness import wait_ns
from edge_reloc.sources.paced import ReplaySource
from edge_reloc.structs import Frame, PoseEstimate, State

RATE_HZ = 30.0
BLUR_PX, DARK_S, NOISE = 9.0, 2.0, 4.0
READ_S = 0.002  # by the clock, for the thread that reads ahead
WRONG, WRONG_DEG, JUMP = 0.1, 5.0, 0.05  # map units, degrees
COLOURS = {
    State.SEARCHING: "tab:blue",
    State.TRACKING: "tab:green",
    State.DEGRADED: "tab:orange",
    State.LOST: "tab:red",
}


@dataclass(frozen=True)
class Bench:
    """What every part of it needs."""

    options: argparse.Namespace
    frames: list[Frame]
    truth: dict[str, np.ndarray]

    def open(self, *, tracking: bool) -> Localizer:
        """A localiser that is warm."""
        localizer = edge_reloc.open(
            self.options.map,
            method=self.options.method,
            second_pass=True,
            tracking=tracking,
            threads=self.options.threads,
        )
        localizer.warm_up(self.frames[0])
        return localizer

    def supervisor(self, localizer: Localizer, *, filtered: bool = False) -> Supervisor:
        """As `edge-reloc run` makes it."""
        metre = metre_of(localizer.bundle.manifest.world, localizer.overview)
        return Supervisor(metre=metre, filtered=filtered, localizer=localizer)

    def errors(self, estimates: Sequence[PoseEstimate]) -> np.ndarray:
        """Distances (N,) from the reference of those with a pose."""
        poses = [(e.cam_from_world, self.truth[e.name]) for e in estimates]
        return np.array([pose_error(p, t).translation for p, t in poses if p is not None])


def supervised(
    bench: Bench, frames: Sequence[Frame], localizer: Localizer, *, filtered: bool = False
) -> list[PoseEstimate]:
    """Every frame in turn, none dropped."""
    supervisor, estimates = bench.supervisor(localizer, filtered=filtered), []
    for frame in frames:
        supervisor.before(frame.t_ns)
        estimates.append(supervisor.judge(frame, localizer.localize(frame).estimate))
    return estimates


def costs(bench: Bench) -> None:
    """Tracked against searched frames, one after the other."""
    ways = {"searched": bench.open(tracking=False), "tracked": bench.open(tracking=True)}
    supervisors = {name: bench.supervisor(localizer) for name, localizer in ways.items()}
    done: dict[str, list[tuple[float, PoseEstimate]]] = {name: [] for name in ways}
    for frame in bench.frames:
        for name, localizer in ways.items():
            begun = time.process_time()
            supervisors[name].before(frame.t_ns)
            raw = localizer.localize(frame).estimate
            supervisors[name].judge(frame, raw)
            done[name].append((1e3 * (time.process_time() - begun), raw))
    searched = np.median([ms for ms, _ in done["searched"]])
    tracked = [(ms, e) for ms, e in done["tracked"] if e.tracked]
    print(f"searched   {searched:.1f} ms of a processor p50")
    share = len(tracked) / len(bench.frames)
    cost = np.median([ms for ms, _ in tracked])
    print(f"tracked    {cost:.1f} ms, {cost / searched:.2f} of it; {share:.0%} of the frames")
    for name, pairs in done.items():
        error = bench.errors([e for _, e in pairs])
        p50, p95, worst = 100 * np.percentile(error, [50, 95, 100])
        print(f"{name:10} {len(error)} poses, error cm p50 {p50:.2f} p95 {p95:.2f} max {worst:.2f}")
    for localizer in ways.values():
        localizer.close()


def live(bench: Bench) -> None:
    """As fast as they come, what is late is dropped; by the clock, busy as the machine may be."""
    localizer, statistics = bench.open(tracking=True), RunStatistics()
    source = ReplaySource(Shown(bench.frames))
    estimates: list[PoseEstimate] = []
    run(
        localizer,
        source,
        statistics,
        supervisor=bench.supervisor(localizer),
        watch=lambda frame, result: estimates.append(result.estimate),
    )
    localizer.close()
    ages = [e.age_ms for e in estimates if e.age_ms is not None]
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    tell_ages("live, clock", ages, source.dropped, load)
    report(bench, "live by the clock", estimates)


def live_alone(bench: Bench) -> None:
    """The same as if a core had nothing else to do: time is what the processor works."""
    localizer, clock = bench.open(tracking=True), ProcessorClock()
    supervisor = bench.supervisor(localizer)
    source = ReplaySource(Shown(bench.frames), now_ns=clock.now_ns, sleep=clock.sleep)
    estimates, ages, waits = [], [], []
    while (frame := source.wait(1.0)) is not None:
        waits.append((clock.now_ns() - frame.t_ns) * 1e-6)
        clock.begin()
        supervisor.before(frame.t_ns)
        estimates.append(supervisor.judge(frame, localizer.localize(frame).estimate))
        clock.end()
        ages.append((clock.now_ns() - frame.t_ns) * 1e-6)
        clock.begin()
        localizer.verify()
        clock.end()
    localizer.close()
    tell_ages("live, alone", ages, source.dropped, "by processor time")
    tracked = [age for age, e in zip(ages, estimates, strict=True) if e.tracked]
    tell_ages("  of those tracked", tracked, 0, "the same")
    tell_ages("  when work began", waits, 0, "the same")
    report(bench, "live alone", estimates)


class Shown:
    """Frames in memory as a source."""

    def __init__(self, frames: list[Frame]) -> None:
        self._frames, self.skipped = frames, list[str]()
        self.height, self.width = frames[0].image.shape[:2]
        self.about = f"{len(frames)} frames in memory"

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._frames)

    def close(self) -> None: ...


class ProcessorClock:
    """What the processor works between `begin` and `end`, and what is slept."""

    def __init__(self) -> None:
        self._now_ns = self._begun_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        self._now_ns += round(seconds * 1e9)
        time.sleep(READ_S)

    def begin(self) -> None:
        self._begun_ns = time.process_time_ns()

    def end(self) -> None:
        self._now_ns += time.process_time_ns() - self._begun_ns


def waiting(bench: Bench) -> None:
    """What waiting for a younger frame changes, for work that takes so long, give or take."""
    image, period_ns = np.zeros((2, 2), np.uint8), round(1e9 / RATE_HZ)
    frames = [Frame(image=image, t_ns=i * period_ns, index=i) for i in range(900)]
    for work_ms in (20, 30, 40, 60, 80, 100):
        for name, wait in (("newest", lambda *_: 0), ("younger", wait_ns)):
            clock, generator = ProcessorClock(), np.random.default_rng(0)
            source = ReplaySource(Shown(frames), now_ns=clock.now_ns, sleep=clock.sleep)
            ages = []
            with unittest.mock.patch("edge_reloc.sources.paced.wait_ns", wait):
                while (frame := source.wait(1.0)) is not None:
                    clock.sleep(work_ms * 1e-3 * generator.uniform(0.85, 1.15))
                    ages.append((clock.now_ns() - frame.t_ns) * 1e-6)
            tell_ages(f"work {work_ms:3d} ms, {name:7}", ages, source.dropped, "of 900 frames")


def tell_ages(name: str, ages_ms: list[float], dropped: int, where: str) -> None:
    """How old poses were when they were there."""
    p50, p95, p99 = np.percentile(ages_ms, [50, 95, 99])
    print(
        f"{name} {len(ages_ms)} used, {dropped} dropped, "
        f"age ms p50 {p50:.0f} p95 {p95:.0f} p99 {p99:.0f}, {where}"
    )


def report(bench: Bench, name: str, estimates: list[PoseEstimate]) -> None:
    """What was given out, how wrong it was."""
    given = [e for e in estimates if e.cam_from_world is not None]
    wrong = jumps = 0
    nees = []
    before: tuple[PoseEstimate, np.ndarray] | None = None
    for estimate in given:
        reference = bench.truth[estimate.name]
        error = pose_error(estimate.cam_from_world, reference)
        wrong += error.translation > WRONG or error.rotation_deg > WRONG_DEG
        nees.append(normalised_error(estimate.cam_from_world, estimate.covariance, reference))
        away = camera_centre(estimate.cam_from_world) - camera_centre(reference)
        if before is not None and estimate.index - before[0].index <= 3:
            jumps += np.linalg.norm(away - before[1]) > JUMP
        before = (estimate, away)
    states = {s.value: sum(e.state is s for e in estimates) for s in State}
    if not given:
        print(f"{name:10} none of {len(estimates)} given out")
        return
    error = 100 * bench.errors(given)
    print(
        f"{name:10} {len(given)} of {len(estimates)} given out, {wrong} wrong, "
        f"{sum(e.tracked for e in estimates) / len(estimates):.0%} tracked, "
        f"error cm p50 {np.median(error):.2f} max {error.max():.2f}, jumps over 5 cm {jumps}, "
        f"NEES {np.mean(nees):.1f} ({np.mean(np.array(nees) < 12.592):.0%} within 95 %), "
        f"{' '.join(f'{k} {v}' for k, v in states.items() if v)}, "
        f"resets {estimates[-1].reset_counter}"
    )
    with open(bench.options.output / f"{name.replace(' ', '_')}.jsonl", "w") as stream:
        stream.writelines(json.dumps(e.to_json()) + "\n" for e in estimates)


def blurred(frames: list[Frame]) -> list[Frame]:
    """One in ten as if the hand had shaken."""
    return [
        replace(f, image=cv2.GaussianBlur(f.image, (0, 0), BLUR_PX)) if i % 10 == 5 else f
        for i, f in enumerate(frames)
    ]


def darkened(frames: list[Frame]) -> list[Frame]:
    """Two seconds in the middle of which the sensor sees its own noise."""
    generator, count = np.random.default_rng(0), int(DARK_S * RATE_HZ)
    begin = (len(frames) - count) // 2
    fault = Fault(reason=Reason.DARK, text="the image is dark", since_ns=frames[begin].t_ns)
    return [
        replace(f, image=noisy(np.zeros_like(f.image), generator), fault=fault)
        if begin <= i < begin + count
        else f
        for i, f in enumerate(frames)
    ]


def shaken(frames: list[Frame]) -> list[Frame]:
    """Half a second in which nothing is sharp."""
    begin = len(frames) // 2
    return [
        replace(f, image=cv2.GaussianBlur(f.image, (0, 0), BLUR_PX))
        if begin <= i < begin + RATE_HZ / 2
        else f
        for i, f in enumerate(frames)
    ]


def noisy(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """With the noise of a sensor in room light."""
    return np.clip(image + generator.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)


def still(bench: Bench) -> None:
    """Jitter of one frame that is seen again and again."""
    generator, first = np.random.default_rng(0), bench.frames[len(bench.frames) // 2]
    frames = [
        replace(first, image=noisy(first.image, generator), t_ns=round(i * 1e9 / RATE_HZ), index=i)
        for i in range(bench.options.still_frames)
    ]
    searched, tracked = bench.open(tracking=False), bench.open(tracking=True)
    steers, smooths = bench.supervisor(tracked), bench.supervisor(tracked, filtered=True)
    seen: dict[str, list[PoseEstimate]] = {"searched": [], "tracked": [], "filtered": []}
    for frame in frames:
        seen["searched"].append(searched.localize(frame).estimate)
        steers.before(frame.t_ns)
        measured = tracked.localize(frame).estimate
        seen["filtered"].append(smooths.judge(frame, measured))
        seen["tracked"].append(steers.judge(frame, measured))  # the last word on what follows
    searched.close()
    tracked.close()
    for name, estimates in seen.items():
        tell_jitter(name, [e.cam_from_world for e in estimates if e.cam_from_world is not None])


def tell_jitter(name: str, poses: list[np.ndarray]) -> None:
    """How poses (4,4) of one place differ, but for the first of them."""
    poses = poses[30:]
    centres = np.array([camera_centre(p) for p in poses])
    mm = 1e3 * np.sqrt(np.sum(np.var(centres, axis=0)))
    turn = [pose_error(p, poses[len(poses) // 2]).rotation_deg for p in poses]
    step = 1e3 * np.linalg.norm(np.diff(centres, axis=0), axis=1)
    print(
        f"still      {name}: {mm:.2f} mm and {np.sqrt(np.mean(np.square(turn))):.3f} deg rms, "
        f"frame to frame {np.median(step):.2f} mm p50 {np.percentile(step, 95):.2f} mm p95",
        flush=True,
    )


def plot(path: Path, runs: dict[str, list[PoseEstimate]], bench: Bench) -> None:
    """States over time, and the errors of what was given out."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(len(runs), 1, figsize=(9, 2 * len(runs)), sharex=True)
    for panel, (name, estimates) in zip(panels, runs.items(), strict=True):
        for estimate in estimates:
            begin = estimate.index / RATE_HZ
            panel.axvspan(
                begin, begin + 1 / RATE_HZ, color=COLOURS[estimate.state], alpha=0.35, lw=0
            )
        given = [e for e in estimates if e.cam_from_world is not None]
        at, error = [e.index / RATE_HZ for e in given], 100 * bench.errors(given)
        panel.plot(at, error, "k.", ms=3)
        panel.set(ylabel="error, cm", title=name, ylim=(0, None))
        panel.margins(x=0)
    panels[-1].set_xlabel("seconds")
    handles = [plt.Rectangle((0, 0), 1, 1, color=c, alpha=0.35) for c in COLOURS.values()]
    figure.legend(handles, [s.value for s in COLOURS], loc="lower center", ncol=4, fontsize=8)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=110)


def scenarios(bench: Bench) -> None:
    """What is given out when something goes wrong."""
    runs = {}
    for name, shown, filtered in (
        ("as they are", bench.frames, False),
        ("filtered", bench.frames, True),
        ("one in ten blurred", blurred(bench.frames), False),
        ("blurred for half a second", shaken(bench.frames), False),
        ("dark for 2 s", darkened(bench.frames), False),
    ):
        localizer = bench.open(tracking=True)
        runs[name] = supervised(bench, shown, localizer, filtered=filtered)
        localizer.close()
        report(bench, name, runs[name])
    plot(bench.options.output / "states.png", runs, bench)


PARTS = {
    "costs": costs,
    "live": live,
    "alone": live_alone,
    "waiting": waiting,
    "scenarios": scenarios,
    "still": still,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--list", type=Path, default=None)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--method", default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=None)
    parser.add_argument("--still-frames", type=int, default=300)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    frames = list(edge_reloc.open_source(options.photos, names=options.list, rate_hz=RATE_HZ))
    bench = Bench(options, frames[: options.frames], read_truth(options.reference))
    for part in options.parts:
        PARTS[part](bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())
