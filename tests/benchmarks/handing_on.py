"""Whether a receiver can hold up localisation: `python tests/benchmarks/handing_on.py`.

What it costs the loop to hand poses on, as a live run does, a thousand a second: without a
receiver, with a pipe that nobody reads, with UDP to a port that nobody listens to, and with a ring
in shared memory that nobody reads. Microseconds a pose, of the wall clock (busy cores show in the
last columns) and of the processor; and what was dropped.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_reloc.geometry.rigid import compose
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.background import BackgroundSinks
from edge_reloc.structs import PoseEstimate, Status

RING = f"edge_reloc_benchmark_{os.getpid()}"
PERIOD_S = 0.001


def measure(address: str | None, poses: int) -> str:
    """A line about one receiver."""
    sinks = BackgroundSinks(live=True)
    if address is not None:
        sinks.add(open_sink(address), address)
    pose, covariance = compose(np.eye(3), np.ones(3)), np.eye(6)
    wall, processor = np.empty(poses), np.empty(poses)
    for index in range(poses):
        estimate = PoseEstimate(
            t_ns=index,
            status=Status.OK,
            cam_from_world=pose,
            covariance=covariance,
            index=index,
        )
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        sinks.write(estimate)
        processor[index] = (time.thread_time_ns() - began_cpu) / 1000
        wall[index] = (time.perf_counter_ns() - began) / 1000
        time.sleep(PERIOD_S)
    dropped = sum(sinks.dropped().values())
    p50, p99 = np.percentile(wall, (50, 99))
    return f"{p50:8.1f}{p99:8.1f}{wall.max():10.1f}{np.median(processor):10.1f}{dropped:10d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--poses", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder, "pipe.jsonl")
        os.mkfifo(pipe)
        held = os.open(pipe, os.O_RDWR)  # opened, and never read
        print(f"{'us':<22}{'p50':>8}{'p99':>8}{'max':>10}{'processor':>10}{'dropped':>10}")
        for name, address in {
            "no receiver": None,
            "a pipe that blocks": str(pipe),
            "udp, nobody there": "udp://127.0.0.1:9",
            "shm, nobody reads": f"shm:{RING}",
        }.items():
            print(f"{name:<22}{measure(address, options.poses)}", flush=True)
        with contextlib.suppress(OSError):
            os.close(held)
    Path("/dev/shm", RING).unlink(missing_ok=True)
    os._exit(0)  # the thread before the pipe waits for ever


if __name__ == "__main__":
    main()
