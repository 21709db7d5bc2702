"""What recording and live views cost a frame, and what a viewer that takes nothing does.

    python tests/benchmarks/viewers.py --frames 300
    python tests/benchmarks/viewers.py --stuck --frames 200

The first: frames of the demo's size with 1,500 keypoints and 400 inliers at 30 Hz, looked at
four times a second, as a run hands them to each sink; milliseconds of processor time a frame, in
the thread that localises, in the sink's, and in threads of the sink's library; bytes a second of
capture time. foxglove: has one viewer that takes everything. The second: the demo's frames
are localised in blocks of 20 with no sink, and with one whose viewer reads nothing, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import edge_reloc
from edge_reloc.bundle.manifest import World
from edge_reloc.errors import MissingPackageError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, so3_exp
from edge_reloc.running.demo import demo_folder
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.background import BackgroundSink, BackgroundSinks
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.look import Look, take_look
from edge_reloc.structs import PoseEstimate, State, Status

RATE_HZ, KEYPOINTS, INLIERS, POINTS = 30.0, 1500, 400, 20_000
BLOCK = 20
STUCK_QUEUE_BYTES = 1 << 20  # so that it is full soon
VIEWER = """
import json, sys
from websockets.sync.client import connect
options = {"subprotocols": ["foxglove.sdk.v1"], "max_size": None, "ping_interval": None}
with connect(sys.argv[1], **options) as viewer:
    while "channels" not in (told := json.loads(viewer.recv())):
        pass
    wanted = [{"id": c["id"], "channelId": c["id"]} for c in told["channels"]]
    viewer.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
    print("there", flush=True)
    if sys.argv[2] == "reads":
        for _ in viewer:
            pass
    sys.stdin.read()
"""


class Timed:
    """A sink that counts the processor time of the thread it is called from."""

    def __init__(self, sink: Any) -> None:
        self._sink, self.spent_s = sink, 0.0
        self.looks_hz = getattr(sink, "looks_hz", 0.0) or 1e-3
        self._draw = getattr(sink, "draw", lambda look: None)

    def write(self, estimate: PoseEstimate) -> None:
        begin_s = time.thread_time()
        self._sink.write(estimate)
        self.spent_s += time.thread_time() - begin_s

    def draw(self, look: Look) -> None:
        begin_s = time.thread_time()
        self._draw(look)
        self.spent_s += time.thread_time() - begin_s

    def close(self) -> None:
        self._sink.close()


@dataclass
class Feed:
    """Frames as a run makes them."""

    facts: RunFacts
    image: np.ndarray
    xy_px: np.ndarray

    def estimate(self, index: int) -> PoseEstimate:
        return PoseEstimate(
            t_ns=round(index * 1e9 / RATE_HZ),
            status=Status.OK,
            state=State.TRACKING,
            cam_from_world=compose(so3_exp([0.0, 0.01 * index, 0.0]), [0.01 * index, 0.0, 0.0]),
            covariance=np.eye(6) * 1e-4,
            keypoints=KEYPOINTS,
            matches=INLIERS,
            inliers=INLIERS,
            p_right=0.99,
            age_ms=20.0,
            stages_ms=dict.fromkeys(("extract", "retrieve", "match", "solve", "second_pass"), 5.0),
            index=index,
        )

    def look(self, estimate: PoseEstimate) -> Look:
        """Copies, as `take_look` makes them."""
        return Look(
            estimate=estimate,
            image=self.image.copy(),
            xy_px=self.xy_px.copy(),
            inlier_xy_px=self.xy_px[:INLIERS].copy(),
            inlier_xyz=self.facts.xyz[:INLIERS].copy(),
        )


def feed() -> Feed:
    random = np.random.default_rng(3)
    path = sorted((demo_folder() / "frames").iterdir())[0]
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    height, width = image.shape
    camera = Camera(
        model="pinhole", width=width, height=height, fx=480, fy=480, cx=width / 2, cy=height / 2
    )
    facts = RunFacts(
        world=World(metric=True, gravity=(0.0, 0.0, -1.0)),
        camera=camera,
        xyz=random.normal(size=(POINTS, 3)).astype(np.float32) * 5,
    )
    xy_px = (random.random((KEYPOINTS, 2)) * [width - 1, height - 1]).astype(np.float32)
    return Feed(facts, image, xy_px)


@contextlib.contextmanager
def viewer(about: str, how: str) -> Iterator[None]:
    """A Foxglove client in a process of its own; how: reads, or stuck."""
    url = about.split(" ")[0]
    command = [sys.executable, "-c", VIEWER, url, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def cost(address: str, frames: int, fed: Feed) -> dict[str, Any]:
    """Processor time a frame of one sink."""
    timed = Timed(open_sink(address, fed.facts))
    about = getattr(timed._sink, "about", "")
    with contextlib.ExitStack() as stack:
        if address.startswith("foxglove"):
            stack.enter_context(viewer(about, "reads"))
        sinks = BackgroundSinks(live=False)
        sinks.add(timed, address)
        gc.collect()
        process_s, loop_s = time.process_time(), 0.0
        for index in range(frames):
            estimate = fed.estimate(index)
            begin_s = time.thread_time()
            sinks.write(estimate)
            if sinks.wants_look(estimate.t_ns):
                sinks.draw(fed.look(estimate))
            loop_s += time.thread_time() - begin_s
            time.sleep(0.002)  # in steps, as frames come
        sinks.drain()
        sinks.close()
        made_s = time.process_time() - process_s - loop_s - timed.spent_s
    path = Path(address.partition("?")[0])
    return {
        "loop_ms": 1e3 * loop_s / frames,
        "sink_ms": 1e3 * timed.spent_s / frames,
        "library_and_rest_ms": 1e3 * made_s / frames,
        "kb_per_s": path.stat().st_size / 1e3 / frames * RATE_HZ if path.exists() else None,
    }


def stuck(frames: int, kinds: list[str]) -> None:
    """Time of frames with no sink and with a stuck one, in turns."""
    demo = demo_folder()
    paths = sorted((demo / "frames").iterdir())
    camera = edge_reloc.Camera(**json.loads((demo / "camera.json").read_text()))
    source = list(edge_reloc.open_source(demo / "frames", camera))
    assert paths
    with edge_reloc.open(demo / "map", camera) as localizer:
        localizer.localize(source[0])
        for kind in kinds:
            with contextlib.ExitStack() as stack:
                sinks = BackgroundSinks(live=True)
                stack.enter_context(stuck_viewer(kind, sinks))
                taken: dict[str, list[tuple[float, float]]] = {"none": [], "stuck": []}
                for number in range(2 * frames):
                    name = "stuck" if number // BLOCK % 2 else "none"
                    frame = replace(source[number % len(source)], t_ns=round(number / 30 * 1e9))
                    wall_s, spent_s = time.perf_counter(), time.process_time()
                    result = localizer.localize(frame)
                    if name == "stuck":
                        sinks.write(result.estimate)
                        if sinks.wants_look(frame.t_ns):
                            sinks.draw(take_look(frame, result))
                    now = time.perf_counter() - wall_s, time.process_time() - spent_s
                    taken[name].append(now)
                (background,) = sinks._sinks
                for name, times in taken.items():
                    ms = 1e3 * np.array(times)
                    wall, spent = (np.percentile(ms[:, i], (50, 95, 99)) for i in (0, 1))
                    print(
                        f"{kind:10s} {name:6s} wall p50 {wall[0]:6.1f} p95 {wall[1]:6.1f} p99 "
                        f"{wall[2]:6.1f} ms   processor p50 {spent[0]:6.1f} p95 {spent[1]:6.1f} "
                        f"p99 {spent[2]:6.1f} ms"
                    )
                print(
                    f"{kind:10s} dropped: {background.dropped} estimates, "
                    f"{background.looks_dropped} looks of {frames} frames"
                )


def fill(background: BackgroundSink) -> None:
    """Looks of noise until nothing more is taken."""
    fed = feed()
    fed.image = np.random.default_rng(0).integers(0, 256, (720, 1280), np.uint8)
    end_s = time.monotonic() + 60
    while background.looks_dropped < 100 and time.monotonic() < end_s:
        t_ns = time.monotonic_ns()
        background.draw(fed.look(replace(fed.estimate(0), t_ns=t_ns)))
        time.sleep(0.01)
    assert background.looks_dropped, "it is not stuck"
    background.looks_dropped = background.dropped = 0


@contextlib.contextmanager
def stuck_viewer(kind: str, sinks: BackgroundSinks) -> Iterator[None]:
    """A sink whose receiver reads nothing."""
    with contextlib.ExitStack() as stack:
        if kind == "foxglove":
            sink = open_sink("foxglove:0", feed().facts)
            stack.enter_context(viewer(sink.about, "stuck"))  # type: ignore[attr-defined]
        elif kind == "rerun":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sink = open_sink(
                f"rerun:connect:127.0.0.1:{server.getsockname()[1]}?looks=1000", feed().facts
            )
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pipe = folder / "pipe.mcap"
            os.mkfifo(pipe)
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            stack.callback(os.close, reader)
            sink = open_sink(f"mcap:{pipe}?looks=1000", feed().facts)
        background = BackgroundSink(sink, kind, waits=False, most_bytes=STUCK_QUEUE_BYTES)
        sinks._sinks.append(background)
        if kind != "foxglove":  # whose library drops what nobody takes, and says nothing
            fill(background)
        yield
        stack.callback(lambda: threading.Thread(target=sinks.close, daemon=True).start())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--stuck", action="store_true", help="viewers that read nothing")
    options = parser.parse_args()
    if options.stuck:
        kinds = ["mcap", "foxglove"]
        with contextlib.suppress(ImportError):
            import rerun  # noqa: F401

            kinds.append("rerun")
        stuck(options.frames, kinds)
        os._exit(0)  # threads of what is stuck
    fed = feed()
    with tempfile.TemporaryDirectory() as folder:
        for name in (
            f"{folder}/run.jsonl",
            f"{folder}/run.mcap",
            f"mcap:{folder}/poses.mcap?looks=0",
            "foxglove:0",
            f"{folder}/run.rrd",
        ):
            try:
                told = cost(name, options.frames, fed)
            except MissingPackageError as error:
                print(f"{name}: {error}")
                continue
            words = [f"{key} {value:.3f}" for key, value in told.items() if value is not None]
            print(f"{name.replace(folder + '/', ''):28s} {'   '.join(words)}")


if __name__ == "__main__":
    main()
