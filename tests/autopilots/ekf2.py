"""PX4's own estimator fed by our MAVLink sink: its position against the truth.

    git clone https://github.com/PX4/PX4-Autopilot px4
    python tests/autopilots/ekf2.py --px4 px4 --build out/ekf2

Of that, src/modules/ekf2, src/lib, src/include, msg and platforms/*/include suffice.

Builds PX4's EKF2 (its sources as they are, vision as the only aid) into a filter of lines
(ekf2_bridge.cpp), flies a made trajectory with a noisy IMU of 200 Hz and a camera whose poses go
through `MavlinkSink`, a UDP socket and pymavlink, 80 ms late and 30 a second, or 250 ms late and 3
a second with and without poses between them (`--rate 30`), and prints how far PX4's position and
yaw are from the truth. What lies between the message and EKF2 is written out
in `given`, after PX4's mavlink_receiver.cpp and EKF2.cpp.
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
from pymavlink.dialects.v20 import common

from edge_reloc.bundle.manifest import World
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import MOUNTS
from edge_reloc.geometry.rigid import compose, invert, rotation_from_quat, so3_exp
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.mavlink import MavlinkSink
from edge_reloc.structs import Frame, PoseEstimate, State, Status

EKF = "src/modules/ekf2/EKF"
SOURCES = (
    "aid_sources/external_vision/*.cpp",
    *(f"{name}.cpp" for name in ("control", "covariance", "ekf", "ekf_helper")),
    *(f"{name}.cpp" for name in ("estimator_interface", "height_control")),
    *(f"{name}_fusion.cpp" for name in ("velocity", "position", "yaw")),
    *(f"aid_sources/{name}.cpp" for name in ("fake_height_control", "fake_pos_control")),
    *(f"aid_sources/Zero{name}Update.cpp" for name in ("Gyro", "Velocity")),
    "aid_sources/zero_innovation_heading_update.cpp",
    "bias_estimator/bias_estimator.cpp",
    "imu_down_sampler/imu_down_sampler.cpp",
    "output_predictor/output_predictor.cpp",
)
LIBRARIES = (
    "geo/geo.cpp",
    "lat_lon_alt/lat_lon_alt.cpp",
    "world_magnetic_model/geo_mag_declination.cpp",
)
INCLUDES = (
    "src",
    "src/lib",
    "src/lib/matrix",
    "src/include",
    "platforms/common/include",
    "platforms/posix/include",
    EKF,
    f"{EKF}/python",
    "src/modules/ekf2",
)
FLAGS = ["-std=gnu++17", "-O1", "-fno-associative-math", "-D__PX4_POSIX", "-D__PX4_LINUX"]
TOPICS = ("EstimatorAidSource1d", "EstimatorAidSource2d", "EstimatorAidSource3d")
C_TYPES = {"float32": "float", "float64": "double", "bool": "bool"}

GRAVITY = 9.80665
IMU_HZ, POSE_HZ, LATE_S = 200, 30, 0.08
REST_S, FLIGHT_S, SETTLED_S = 8.0, 60.0, 12.0
JUMP_S, JUMP = 45.0, np.array([1.5, -1.0, 0.5])  # of the map, east, north, up
STD_M, STD_RAD = 0.03, 0.01  # of poses
GYRO_STD, ACCELERATION_STD = 2e-3, 3e-2  # rad/s, m/s2 of a sample
GYRO_BIAS, ACCELERATION_BIAS = np.array([2e-3, -1e-3, 1e-3]), np.array([0.05, -0.03, 0.04])
ORIGIN = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0}
NED_FROM_ENU = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
FRD_FROM_FLU = np.diag([1.0, -1, -1])


def build(px4: Path, out: Path) -> Path:
    """The bridge, compiled; what is there already is kept."""
    (out / "uORB/topics").mkdir(parents=True, exist_ok=True)
    (out / "px4_boardconfig.h").touch()
    for topic in TOPICS:
        name, text = _topic(topic, (px4 / "msg" / f"{topic}.msg").read_text())
        (out / "uORB/topics" / f"{name}.h").write_text(text)
    sources = [path for pattern in SOURCES for path in sorted((px4 / EKF).glob(pattern))]
    sources += [px4 / "src/lib" / name for name in LIBRARIES]
    sources.append(Path(__file__).with_name("ekf2_bridge.cpp"))
    includes = [f"-I{out}", *(f"-I{px4 / name}" for name in INCLUDES)]
    objects = []
    for source in sources:
        objects.append(out / f"{source.stem}.o")
        if not objects[-1].exists() or objects[-1].stat().st_mtime < source.stat().st_mtime:
            print(f"compile {source.name}", file=sys.stderr)
            defines = [*FLAGS, "-DCONFIG_EKF2_EXTERNAL_VISION"]
            command = ["g++", *defines, *includes, "-c", str(source), "-o", str(objects[-1])]
            subprocess.run(command, check=True)
    subprocess.run(["g++", *map(str, objects), "-o", str(out / "ekf2")], check=True)
    return out / "ekf2"


def _topic(name: str, text: str) -> tuple[str, str]:
    """A message definition as the C struct that PX4's generator makes of it."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    fields = re.findall(r"^(\w+?)(\[\d+\])?\s+(\w+)\s*(?:#.*)?$", text, re.MULTILINE)
    rows = [f"\t{C_TYPES.get(kind, f'{kind}_t')} {field}{size};" for kind, size, field in fields]
    return snake, "\n".join(
        ["#pragma once", "#include <stdint.h>", f"struct {snake}_s {{", *rows, "};", ""]
    )


@dataclass(frozen=True)
class Flight:
    """A body (forward, left, up) in an east, north, up world."""

    world_from_body: np.ndarray

    @classmethod
    def at(cls, t_s: float) -> Flight:
        """Rests, then circles with its height and attitude waving."""
        u = max(t_s - REST_S, 0.0)
        ease = u**3 / (u**3 + 8.0)  # no jerk at the start
        turn = 2 * pi * u / 20.0
        xyz = ease * np.array([4 * np.sin(turn), 3 * (1 - np.cos(turn)), 2 * np.sin(turn / 3)])
        yaw = 0.4 + ease * 0.8 * np.sin(turn / 2)
        pitch, roll = ease * 0.15 * np.sin(turn), ease * 0.2 * np.sin(1.3 * turn)
        rotation = so3_exp([0, 0, yaw]) @ so3_exp([0, pitch, 0]) @ so3_exp([roll, 0, 0])
        return cls(compose(rotation, xyz))


def imu(t_s: float, random: np.random.Generator) -> np.ndarray:
    """Angle and velocity that the last period added (6,), in the body's forward, right, down."""
    dt = 1 / IMU_HZ
    before, now = Flight.at(t_s - dt).world_from_body, Flight.at(t_s).world_from_body
    step = before[:3, :3].T @ now[:3, :3]
    angle = np.array([step[2, 1] - step[1, 2], step[0, 2] - step[2, 0], step[1, 0] - step[0, 1]])
    h = 1e-3
    past, ahead = (Flight.at(t_s - dt / 2 + s).world_from_body[:3, 3] for s in (-h, h))
    middle = Flight.at(t_s - dt / 2).world_from_body
    acceleration = (past - 2 * middle[:3, 3] + ahead) / h**2 + [0, 0, GRAVITY]
    gyro = angle / 2 / dt + GYRO_STD * random.normal(size=3) + GYRO_BIAS
    force = middle[:3, :3].T @ acceleration
    force = force + ACCELERATION_STD * random.normal(size=3) + ACCELERATION_BIAS
    return np.r_[FRD_FROM_FLU @ gyro * dt, FRD_FROM_FLU @ force * dt]


def estimate(t_s: float, mount: np.ndarray, random: np.random.Generator) -> PoseEstimate:
    """What the localiser says of a frame, with errors as large as it claims."""
    jumped = t_s >= JUMP_S
    world_from_body = Flight.at(t_s).world_from_body.copy()
    world_from_body[:3, 3] += JUMP * jumped
    exact = invert(mount) @ invert(world_from_body)
    sigma = np.array([STD_RAD] * 3 + [STD_M] * 3)
    delta = sigma * random.normal(size=6)
    return PoseEstimate(
        t_ns=round(t_s * 1e9),
        status=Status.OK,
        state=State.TRACKING,
        cam_from_world=compose(so3_exp(delta[:3]), delta[3:]) @ exact,
        covariance=np.diag(sigma**2),
        p_right=0.95,
        reset_counter=int(jumped),
    )


def given(message: Any) -> str:
    """What PX4 makes of ODOMETRY, as a line for the bridge; variances with EKF2's floors."""
    covariance = np.array(message.pose_covariance)
    position = np.maximum(covariance[[0, 6, 11]], 0.1**2)
    angles = np.maximum(covariance[[15, 18, 20]], 0.1**2)
    numbers = [message.x, message.y, message.z, *message.q, *position, *angles]
    whole = f"{message.frame_id} {message.reset_counter} {message.quality}"
    return f"ev {message.time_usec} {' '.join(f'{n:.8g}' for n in numbers)} {whole}"


def received(receiver: socket.socket, parser: common.MAVLink) -> Any:
    """The next ODOMETRY."""
    while True:
        for message in parser.parse_buffer(receiver.recv(4096)) or []:
            if message.get_type() == "ODOMETRY":
                return message


class Localiser:
    """Estimates as they are given out. between: also poses of now at POSE_HZ, as `--rate` does."""

    def __init__(self, hz: float, late_s: float, *, between: bool, seed: int) -> None:
        self._hz, self._late_s, self._between = hz, late_s, between
        self._random = np.random.default_rng(seed)
        self._supervisor = Supervisor()
        self._frames = self._ticks = 0
        self._working: list[tuple[float, PoseEstimate]] = []

    def given_out(self, t_s: float) -> Iterator[PoseEstimate]:
        """Those of a time, which never goes back."""
        if t_s * self._hz >= self._frames:
            self._frames += 1
            pose = estimate(t_s, MOUNTS["front"], self._random)
            self._working.append((t_s + self._late_s, pose))
        while self._working and self._working[0][0] <= t_s:
            pose = self._working.pop(0)[1]
            if self._between:
                frame = Frame(image=np.zeros((4, 4), np.uint8), t_ns=pose.t_ns)
                pose = self._supervisor.judge(frame, pose)
            yield pose
        if self._between and t_s * POSE_HZ >= self._ticks:
            self._ticks += 1
            ahead = self._supervisor.propagated(round(t_s * 1e9))
            if ahead is not None:
                yield ahead


FAST = {"hz": 30.0, "late_s": LATE_S, "between": False}
SLOW = {"hz": 3.0, "late_s": 0.25, "between": False}
SLOW_BETWEEN = {**SLOW, "between": True}


def lines(world: World, said: np.ndarray, localiser: Localiser, seed: int) -> Iterator[str]:
    """A flight, as PX4 gets it. said: the mount that the sink is told; the true one is front."""
    random = np.random.default_rng(seed)
    camera = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20.0)
        address = f"udpout:127.0.0.1:{receiver.getsockname()[1]}?autopilot=px4"
        sink = MavlinkSink(address, RunFacts(world=world, camera=camera.mounted(said)))
        parser = common.MAVLink(None)
        for tick in range(1, round((REST_S + FLIGHT_S) * IMU_HZ)):
            t_s = tick / IMU_HZ
            for pose in localiser.given_out(t_s):
                sent = sink.sent
                sink.write(pose)
                if sink.sent > sent:
                    yield given(received(receiver, parser))
            numbers = " ".join(f"{n:.9g}" for n in imu(t_s, random))
            yield f"imu {round(t_s * 1e6)} {numbers} {1 / IMU_HZ:.9g}"
        sink.close()


def fly(
    bridge: Path, world: World, said: np.ndarray, how: dict[str, Any] = FAST, seed: int = 3
) -> np.ndarray:
    """Rows of time s, error in metres along three axes, error of the yaw in degrees, and whether
    PX4 fuses position, height, yaw.
    """
    text = "\n".join(lines(world, said, Localiser(**how, seed=seed), seed))
    run = subprocess.run([bridge, "60"], input=text, capture_output=True, text=True, check=True)
    world_axes = NED_FROM_ENU if world.georeference else FRD_FROM_FLU
    rows = []
    for line in run.stdout.splitlines():
        if not re.match(r"\d+ -?\d", line):
            continue  # what PX4 logs
        values = np.array(line.split(), float)
        t_s = values[0] * 1e-6
        truth = Flight.at(t_s).world_from_body
        place = world_axes @ (truth[:3, 3] + JUMP * (t_s >= JUMP_S))
        rotation = world_axes @ truth[:3, :3] @ FRD_FROM_FLU.T
        turned = rotation_from_quat(values[4:8]) @ rotation.T
        yaw = np.degrees(np.arctan2(turned[1, 0], turned[0, 0]))
        rows.append(np.r_[t_s, values[1:4] - place, yaw, values[8:]])
    return np.array(rows)


def report(name: str, rows: np.ndarray) -> None:
    """A line of figures."""
    t_s = rows[:, 0]
    used = (t_s > REST_S + SETTLED_S) & ((t_s < JUMP_S) | (t_s > JUMP_S + 2.0))
    far = np.linalg.norm(rows[:, 1:4], axis=1)
    after = far[(t_s > JUMP_S + 1.5) & (t_s < JUMP_S + 2.0)]
    fused = rows[used][:, 5:].mean(axis=0)
    print(
        f"{name:<34} position p50 {np.median(far[used]):6.3f} m  p95 "
        f"{np.quantile(far[used], 0.95):6.3f} m  after the jump "
        f"{np.median(after):6.3f} m  yaw p95 {np.quantile(np.abs(rows[used, 4]), 0.95):5.2f} deg  "
        f"fused: position {fused[0]:.0%}, height {fused[1]:.0%}, yaw {fused[2]:.0%}"
    )


def main() -> int:
    """0; figures on standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px4", type=Path, required=True, help="a checkout of PX4-Autopilot")
    parser.add_argument("--build", type=Path, default=Path("out/ekf2"))
    options = parser.parse_args()
    bridge = build(options.px4, options.build)
    down = (0.0, 0.0, -1.0)
    north = World(metric=True, gravity=down, georeference=ORIGIN)
    report("georeferenced map (LOCAL_NED)", fly(bridge, north, MOUNTS["front"]))
    level = World(metric=True, gravity=down)
    report("level map without north (LOCAL_FRD)", fly(bridge, level, MOUNTS["front"]))
    sideways = MOUNTS["front"] @ compose(so3_exp([0, pi / 2, 0]), np.zeros(3))
    report("3 a second, 250 ms late", fly(bridge, level, MOUNTS["front"], SLOW))
    report("the same with --rate 30", fly(bridge, level, MOUNTS["front"], SLOW_BETWEEN))
    report("the second, its mount said wrongly", fly(bridge, level, sideways))
    return 0


if __name__ == "__main__":
    sys.exit(main())
