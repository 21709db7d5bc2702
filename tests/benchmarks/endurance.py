"""Half an hour of a stream that breaks off again and again: does anything grow?

    python tests/benchmarks/endurance.py --output out [--minutes 30] [--map DIR --photos DIR]

A server on loopback shows the photos (the demo's, unless told) back and forth as a stream; it
is killed every `--cut-s` seconds and started again a second later. `edge-reloc run` with
tracking, states and the flight recorder localises it. Prints what the process holds, minute by
minute, and what it gave out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.served_stream import Served

DEMO = ROOT / "edge_reloc" / "demo"
AWAY_S = 1.0
TOLD = (1, 5, 10, 15, 20, 25, 30)  # minutes, and every tenth after them


def held(pid: int) -> tuple[float, int, int]:
    """MB of resident memory, descriptors, threads."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    megabytes = int(status["VmRSS"].split()[0]) / 1e3
    return megabytes, len(list((process / "fd").iterdir())), int(status["Threads"])


def tell(minute: float, pid: int, cuts: int, poses: Path) -> None:
    """A line of the table."""
    megabytes, descriptors, threads = held(pid)
    lines = [json.loads(line) for line in poses.read_text().splitlines()]
    given = sum(line["cam_from_world"] is not None for line in lines)
    gone = sum(line["state_reason"] == "CAMERA_GONE" for line in lines)
    print(
        f"minute {minute:5.1f}  {megabytes:6.1f} MB  {descriptors:3d} descriptors  "
        f"{threads:2d} threads  {cuts:3d} cuts ({gone} told)  {given} poses of {len(lines)} lines",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, default=DEMO / "map")
    parser.add_argument("--photos", type=Path, default=DEMO / "frames")
    parser.add_argument("--calibration", type=Path, default=DEMO / "camera.json")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=5, help="Hz")
    parser.add_argument("--kind", default="tcp", choices=["tcp", "http", "rtsp"])
    parser.add_argument("--cut-s", type=float, default=20.0)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    stream = Served(options.kind, str(options.photos), str(options.rate))
    poses = options.output / "poses.jsonl"
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "edge_reloc.run", "--map", str(options.map)),
            *("--source", stream.url, "--calibration", str(options.calibration)),
            *("--output", str(poses), "--tracking", "--threads", "1"),
            *("--record", str(options.output / "flight"), "--record-memory", "64MiB"),
        ],
        stderr=(options.output / "status.txt").open("w"),
    )
    try:
        begun_s, cuts, told = time.monotonic(), 0, 0
        while (minute := (time.monotonic() - begun_s) / 60) < options.minutes:
            time.sleep(options.cut_s)
            if run.poll() is not None:
                print(f"the run ended with {run.returncode}")
                return 1
            minute = (time.monotonic() - begun_s) / 60
            due = [m for m in TOLD if told < m <= minute]
            if due or minute - told >= 10:
                told = due[-1] if due else int(minute)
                tell(minute, run.pid, cuts, poses)
            stream.cut()
            cuts += 1
            time.sleep(AWAY_S)
            stream.start()
        tell(minute, run.pid, cuts, poses)
    finally:
        run.terminate()
        code = run.wait()
        stream.cut()
    return code


if __name__ == "__main__":
    sys.exit(main())
