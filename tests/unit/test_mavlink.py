"""MAVLink: what autopilots make of our poses, decoded by pymavlink from real sockets.

`px4_odometry` and `ardupilot_odometry` say what the receivers' sources do with ODOMETRY (PX4:
mavlink_receiver.cpp and EKF2.cpp; ArduPilot: GCS_Common.cpp and AP_VisualOdom_MAV.cpp).
"""

from __future__ import annotations

import logging
import os
import socket
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan, pi
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("pymavlink")
from pymavlink.dialects.v20 import common

from edge_reloc.bundle.manifest import World
from edge_reloc.errors import ConfigError, SinkError
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.frames import (
    FRD_FROM_FLU,
    MOUNTS,
    NED_FROM_ENU,
    roll_pitch_yaw,
    rotation_of_angles,
)
from edge_reloc.geometry.rigid import compose, invert, rotation_from_quat, rotation_vector, so3_exp
from edge_reloc.geometry.rigid import quat_from_rotation as rotation_quat
from edge_reloc.reasons import Reason
from edge_reloc.running.supervisor import Supervisor
from edge_reloc.sinks import open_sink
from edge_reloc.sinks.advice import Advice
from edge_reloc.sinks.facts import RunFacts
from edge_reloc.sinks.mavlink import MavlinkSink
from edge_reloc.sinks.mavlink_clock import LONGEST_NS, AutopilotClock
from edge_reloc.sinks.mavlink_link import SerialLink, TcpLink
from edge_reloc.sinks.mavlink_pace import PX4, Pace
from edge_reloc.structs import Frame, PoseEstimate, State, Status

WAIT_S = 20.0  # no test gets near it
ORIGIN = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0}
NORTH_KNOWN = World(metric=True, gravity=(0.0, 0.0, -1.0), georeference=ORIGIN)
LEVEL = World(metric=True, gravity=(0.0, 0.0, -1.0))
CAMERA = Camera(model="pinhole", width=64, height=48, fx=50, fy=50, cx=32, cy=24)
MOUNT = MOUNTS["front"].copy()
MOUNT[:3, 3] = [0.2, -0.1, 0.05]
FACTS = RunFacts(world=LEVEL, camera=CAMERA.mounted(MOUNT))
FLOAT32 = 2e-6  # of a number of metres, or of a unit vector, in the message


class Autopilot:
    """The other end of a link, by pymavlink."""

    def __init__(self, *, autopilot: int = 12) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(WAIT_S)
        self.address = f"udpout:127.0.0.1:{self._socket.getsockname()[1]}"
        self._mav = common.MAVLink(None, 1, 1)
        self._autopilot = autopilot
        self._came: list[Any] = []

    def next(self, kind: str) -> Any:
        """The next message of a kind; others are passed over."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            while self._came:
                message = self._came.pop(0)
                if message.get_type() == kind:
                    return message
            data, self._peer = self._socket.recvfrom(4096)
            self._came += self._mav.parse_buffer(data) or []
        raise TimeoutError(kind)

    def say(self, name: str, **fields: Any) -> None:
        """To whoever spoke last."""
        packed = getattr(common, f"MAVLink_{name}_message")(**fields).pack(self._mav)
        self._socket.sendto(packed, self._peer)

    def greet(self) -> None:
        """Wait for the companion, say what we are."""
        self.next("HEARTBEAT")
        beat = {"type": 2, "base_mode": 0, "custom_mode": 0, "system_status": 4}
        self.say("heartbeat", autopilot=self._autopilot, mavlink_version=3, **beat)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def autopilot() -> Iterator[Autopilot]:
    receiver = Autopilot()
    yield receiver
    receiver.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(autopilot: Autopilot) -> Iterator[Open]:
    """Opens a sink towards the autopilot; options as in the address."""
    sinks = []

    def open_(options: str = "", facts: RunFacts = FACTS) -> Any:
        sinks.append(open_sink(f"mavlink:{autopilot.address}?{options}", facts))
        return sinks[-1]

    yield open_
    for sink in sinks:
        sink.close()


def flying(world_from_body: np.ndarray, mount: np.ndarray = MOUNT, **more: Any) -> PoseEstimate:
    """The estimate of a body (forward, left, up) in a world."""
    values = {"covariance": np.eye(6) * 1e-4, "p_right": 0.87, "state": State.TRACKING}
    return PoseEstimate(
        t_ns=time.monotonic_ns(),
        status=Status.OK,
        cam_from_world=invert(mount) @ invert(world_from_body),
        **{**values, **more},
    )


class Seen(NamedTuple):
    """What a filter is given."""

    xyz: np.ndarray
    roll_pitch_yaw: np.ndarray
    variances: np.ndarray  # of position, then of roll, pitch, yaw
    ned: bool
    t_us: int
    reset_counter: int
    quality: int


def px4_odometry(message: Any) -> Seen:
    """PX4: names of frames, six of the 21 numbers, velocities only where finite."""
    assert message.frame_id in (1, 20), "other frames: the quaternion is not converted"
    assert message.estimator_type in (0, 1, 2, 3), "others do not reach EKF2"
    q = np.array(message.q, np.float32)
    assert abs(1 - np.linalg.norm(q)) <= 1e-5, "EKF2 takes no attitude of another norm"
    assert np.isnan([message.vx, message.vy, message.vz]).all(), "unknown velocity"
    covariance = np.array(message.pose_covariance)
    return Seen(
        xyz=np.array([message.x, message.y, message.z]),
        roll_pitch_yaw=np.array(roll_pitch_yaw(rotation_from_quat(q))),
        variances=covariance[[0, 6, 11, 15, 18, 20]],
        ned=message.frame_id == 1,
        t_us=message.time_usec,
        reset_counter=message.reset_counter,
        quality=message.quality,
    )


def ardupilot_odometry(message: Any) -> Seen:
    """ArduPilot: LOCAL_FRD with BODY_FRD or nothing, taken as north, east, down."""
    assert (message.frame_id, message.child_frame_id) == (20, 12), "silently dropped"
    seen = px4_odometry(message)
    position = np.cbrt((seen.variances[:3] ** 2).sum())
    angle = np.cbrt((seen.variances[3:] ** 2).sum())
    return seen._replace(ned=True, variances=np.array([position, angle]))


EAST, NORTH, UP = np.eye(3)
RAD = 0.2


def body(forward: np.ndarray, up: np.ndarray, at: np.ndarray) -> np.ndarray:
    """world_from_body of axes in the world."""
    return compose(np.column_stack([forward, np.cross(up, forward), up]), at)


def turned(axis: np.ndarray, rad: float, of: np.ndarray) -> np.ndarray:
    return so3_exp(np.asarray(axis) * rad) @ of


ATTITUDES = {
    "level, looks north": (NORTH, UP, [0, 0, 0]),
    "level, looks east": (EAST, UP, [0, 0, pi / 2]),
    "level, looks west": (-EAST, UP, [0, 0, -pi / 2]),
    # nose up: about the left wing's axis, east to west
    "nose up": (turned(EAST, RAD, NORTH), turned(EAST, RAD, UP), [0, RAD, 0]),
    "right wing down": (NORTH, turned(NORTH, RAD, UP), [RAD, 0, 0]),
}


@pytest.mark.parametrize("attitude", ATTITUDES)
@pytest.mark.parametrize(
    ("moved", "ned"), [(EAST, [0, 1, 0]), (NORTH, [1, 0, 0]), (UP, [0, 0, -1])]
)
def test_px4_and_ardupilot_see_a_body_as_it_flies(
    attitude: str, moved: np.ndarray, ned: list[float], autopilot: Autopilot, opened: Open
) -> None:
    forward, up, angles = ATTITUDES[attitude]
    estimate = flying(body(forward, up, 7.0 * moved))
    for name, sees in (("px4", px4_odometry), ("ardupilot", ardupilot_odometry)):
        sink = opened(f"autopilot={name}", replace(FACTS, world=NORTH_KNOWN))
        sink.write(estimate)
        seen = sees(autopilot.next("ODOMETRY"))
        np.testing.assert_allclose(seen.xyz, 7.0 * np.array(ned), atol=7 * FLOAT32)
        np.testing.assert_allclose(seen.roll_pitch_yaw, angles, atol=FLOAT32)
        assert seen.ned
        assert seen.t_us == estimate.t_ns // 1000
        assert seen.quality == 87


def test_a_world_without_north_keeps_its_x_axis_and_says_so(
    autopilot: Autopilot, opened: Open
) -> None:
    sink = opened("autopilot=px4")
    sink.write(flying(body(NORTH, UP, np.array([1.0, 2.0, 3.0])), reset_counter=258))
    seen = px4_odometry(autopilot.next("ODOMETRY"))
    np.testing.assert_allclose(seen.xyz, [1, -2, -3], atol=FLOAT32)
    np.testing.assert_allclose(seen.roll_pitch_yaw, [0, 0, -pi / 2], atol=FLOAT32)
    assert not seen.ned and seen.reset_counter == 2


def test_a_tilted_world_is_levelled(autopilot: Autopilot, opened: Open) -> None:
    """Its y points down, as in a map of a camera's axes."""
    sink = opened(facts=replace(FACTS, world=World(metric=True, gravity=(0.0, 1.0, 0.0))))
    tilted = compose(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.zeros(3))
    sink.write(flying(tilted @ body(EAST, UP, np.array([3.0, 0, 5.0]))))
    seen = px4_odometry(autopilot.next("ODOMETRY"))
    np.testing.assert_allclose(seen.roll_pitch_yaw[:2], [0, 0], atol=FLOAT32)
    assert seen.xyz[2] == pytest.approx(-5.0)


def test_covariances_are_true_in_the_message(autopilot: Autopilot, opened: Open) -> None:
    """Monte Carlo: poses drawn from a covariance, normalised by what the message says."""
    random = np.random.default_rng(7)
    root = random.normal(size=(6, 6)) * np.array([[4e-3] * 3 + [2e-2] * 3]).T
    covariance, draws = root @ root.T, 2000
    pose = body(turned([1.0, 1.0, 0.0], 0.3, NORTH), turned([1.0, 1.0, 0.0], 0.3, UP), 4 * EAST)
    said_of = flying(pose, covariance=covariance)
    sink = opened("autopilot=px4", replace(FACTS, world=NORTH_KNOWN))
    sink.write(said_of)
    message = autopilot.next("ODOMETRY")
    triangle = np.zeros((6, 6))
    triangle[np.triu_indices(6)] = message.pose_covariance
    said = triangle + np.triu(triangle, 1).T
    mean = np.r_[message.x, message.y, message.z, px4_odometry(message).roll_pitch_yaw]
    normalised, inside = np.empty(draws), np.zeros(6)
    for i in range(draws):
        delta = root @ random.normal(size=6)
        cam_from_world = compose(so3_exp(delta[:3]), delta[3:]) @ said_of.cam_from_world
        true = invert(MOUNT @ cam_from_world)
        rotation = NED_FROM_ENU @ true[:3, :3] @ FRD_FROM_FLU.T
        error = np.r_[NED_FROM_ENU @ true[:3, 3], roll_pitch_yaw(rotation)] - mean
        normalised[i] = error @ np.linalg.solve(said, error)
        inside += np.abs(error) < 1.96 * np.sqrt(np.diag(said))
    assert abs(normalised.mean() - 6.0) < 1.96 * np.sqrt(2 * 6 / draws)
    # each of the six variances that PX4 reads, on its own
    assert np.abs(inside / draws - 0.95).max() < 3.3 * np.sqrt(0.95 * 0.05 / draws)


def test_what_is_not_to_be_used_is_not_sent(autopilot: Autopilot, opened: Open) -> None:
    sink = opened()
    good = flying(body(NORTH, UP, EAST))
    bad_number = good.cam_from_world.copy()
    bad_number[0, 3] = nan
    for estimate in (
        replace(good, status=Status.DEGRADED),
        good.withheld(),
        replace(good, cam_from_world=bad_number),
        PoseEstimate(t_ns=1, status=Status.NO_MATCHES, state=State.LOST),
    ):
        sink.write(estimate)
    assert sink.sent == 0
    sink.write(good)
    sink.write(replace(good, propagated=True, p_right=None, t_ns=good.t_ns + 30_000_000))
    sink.write(replace(good, t_ns=good.t_ns + 10_000_000))
    assert (sink.sent, sink.passed_over) == (2, 1), "filters want poses in order"
    measured, between = autopilot.next("ODOMETRY"), autopilot.next("ODOMETRY")
    assert measured.time_usec == good.t_ns // 1000
    assert measured.quality == between.quality == 87, "EKF2_EV_QMIN must not stop the latter"


def test_changes_of_state_are_told(autopilot: Autopilot, opened: Open) -> None:
    sink = opened()
    for t_s, state, reason in (
        (0.0, State.SEARCHING, Reason.UNCONFIRMED),
        (1.0, State.TRACKING, None),
        (1.5, State.TRACKING, None),
        (1.6, State.DEGRADED, Reason.DARK),  # for a moment: nobody needs to read it
        (1.7, State.TRACKING, None),
        (1.8, State.LOST, Reason.DARK),
    ):
        told = {"t_ns": round(t_s * 1e9), "state": state, "state_reason": reason}
        sink.write(PoseEstimate(status=Status.NO_POSE, **told))
    texts = [autopilot.next("STATUSTEXT") for _ in range(3)]
    assert [(text.severity, text.text) for text in texts] == [
        (6, "edge-reloc SEARCHING UNCONFIRMED"),
        (6, "edge-reloc TRACKING"),
        (4, "edge-reloc LOST DARK"),
    ]


def test_the_companion_says_who_it_is(autopilot: Autopilot, opened: Open) -> None:
    opened("system=7&component=42")
    beat = autopilot.next("HEARTBEAT")
    assert (beat.get_srcSystem(), beat.get_srcComponent()) == (7, 42)
    assert (beat.type, beat.autopilot) == (18, 8)
    assert autopilot.next("TIMESYNC").tc1 == 0


def test_time_is_told_in_our_clock(autopilot: Autopilot, opened: Open) -> None:
    """PX4 asks, and adds the difference to our stamps itself."""
    opened()
    autopilot.greet()
    before = time.monotonic_ns()
    autopilot.say("timesync", tc1=0, ts1=123)
    while (answer := autopilot.next("TIMESYNC")).tc1 == 0:
        pass
    assert answer.ts1 == 123 and before <= answer.tc1 <= time.monotonic_ns()


def soon(answer: Callable[[], Any]) -> Any:
    """What another thread comes to know."""
    end_s = time.monotonic() + WAIT_S
    while (value := answer()) is None and time.monotonic() < end_s:
        time.sleep(0.01)
    return value


def test_attitude_and_motion_reach_frames(autopilot: Autopilot, opened: Open) -> None:
    """Of an autopilot that booted 1000 s before our clock began: nose up, looks east."""
    advice = Advice()
    sink = opened(facts=replace(FACTS, advice=advice))
    autopilot.greet()
    asked = [autopilot.next("COMMAND_LONG") for _ in range(2)]
    assert [(a.command, a.param1, a.param2) for a in asked] == [
        (511, 31.0, 20_000.0),
        (511, 32.0, pytest.approx(33_333.3)),
    ]
    ahead_ns = 1_000_000_000_000
    question = autopilot.next("TIMESYNC")
    autopilot.say("timesync", tc1=time.monotonic_ns() + ahead_ns, ts1=question.ts1)
    assert soon(lambda: sink.clock.known or None)
    assert abs(sink.clock.ours(ahead_ns)) <= LONGEST_NS // 2  # half the way there and back
    taken_ns = time.monotonic_ns()
    boot_ms = (taken_ns - sink.clock.ours(0)) // 1_000_000
    rates = {"rollspeed": 0.0, "pitchspeed": 0.0, "yawspeed": 0.0}
    velocity = {"vx": 0.0, "vy": 0.0, "vz": 0.0}
    autopilot.say("local_position_ned", time_boot_ms=boot_ms, x=1.0, y=2.0, z=-3.0, **velocity)
    autopilot.say("attitude", time_boot_ms=boot_ms, roll=0.0, pitch=0.2, yaw=pi / 2, **rates)
    first = soon(lambda: advice.rotation(taken_ns))
    frame = Frame(image=np.zeros((4, 4), np.uint8), t_ns=taken_ns)
    ahead = advice.frame(frame, MOUNTS["front"])
    # of a camera that looks up, down is behind it
    np.testing.assert_allclose(ahead.down, [0, np.cos(0.2), -np.sin(0.2)], atol=1e-6)
    below = advice.frame(frame, MOUNTS["nadir"])
    np.testing.assert_allclose(below.down, [0, np.sin(0.2), np.cos(0.2)], atol=1e-6)
    # north, west, up; it looks east and up
    np.testing.assert_allclose(ahead.odom_from_cam[:3, 3], [1, -2, 3])
    np.testing.assert_allclose(
        ahead.odom_from_cam[:3, 2], [0, -np.cos(0.2), np.sin(0.2)], atol=1e-6
    )
    turned_up = rotation_quat(rotation_of_angles(0.0, 0.2, pi / 2))
    quaternion = dict(zip(("q1", "q2", "q3", "q4"), turned_up, strict=True))
    autopilot.say("attitude_quaternion", time_boot_ms=boot_ms + 100, **quaternion, **rates)
    second = soon(lambda: advice.rotation(taken_ns + 100_000_000))
    np.testing.assert_allclose(second, first, atol=1e-6)


def test_advice_is_of_the_frame_s_time() -> None:
    advice = Advice()
    for t_ms, yaw, x in ((0, 0.0, 0.0), (100, 0.2, 1.0), (900, 0.0, 2.0)):
        advice.tell_rotation(t_ms * 1_000_000, so3_exp([0, 0, yaw]))
        advice.tell_place(t_ms * 1_000_000, np.array([x, 0, 0]))
    advice.tell_place(850_000_000, np.zeros(3))  # too late
    np.testing.assert_allclose(advice.rotation(50_000_000), so3_exp([0, 0, 0.1]), atol=1e-12)
    np.testing.assert_allclose(advice.place(25_000_000), [0.25, 0, 0])
    assert advice.rotation(500_000_000) is None, "0.8 s lie between its neighbours"
    assert advice.place(940_000_000) is not None and advice.place(960_000_000) is None
    assert advice.rotation(-1) is None


class Told:
    """Where a localiser is told to look."""

    def __init__(self) -> None:
        self.poses: list[np.ndarray] = []

    def predict(self, t_ns: int, cam_from_world: np.ndarray, covariance: np.ndarray) -> None:
        assert (np.linalg.eigvalsh(covariance) > 0).all()
        self.poses.append(cam_from_world)

    def search_next(self) -> None: ...


def test_odometry_says_where_a_frame_is_looked_for() -> None:
    """A camera that stops and turns back at once, which constant motion does not expect."""
    angles = 0.08 * np.r_[:8, 6:0:-1]
    world_from_cams = [compose(so3_exp([0, a, 0]), [0.1 * a, 0, 0.3 * a]) for a in angles]
    odom_from_world = compose(so3_exp([0.1, 2.0, -0.4]), [30.0, -4.0, 1.0])
    errors = {}
    for odometry in (True, False):
        told = Told()
        supervisor, off = Supervisor(localizer=told), []
        for n, world_from_cam in enumerate(world_from_cams):
            odom_from_cam = odom_from_world @ world_from_cam if odometry else None
            t_ns = n * 100_000_000
            frame = Frame(image=np.zeros((4, 4), np.uint8), t_ns=t_ns, odom_from_cam=odom_from_cam)
            if n == 10:  # as after a replay from here
                recalled = supervisor.recall()
                supervisor = Supervisor(localizer=told)
                supervisor.resume(recalled)
            told.poses.clear()
            supervisor.before(t_ns, odom_from_cam)
            true = invert(world_from_cam)
            off += [rotation_vector(pose[:3, :3] @ true[:3, :3].T) for pose in told.poses]
            covariance = np.eye(6) * 1e-4
            estimate = PoseEstimate(
                t_ns=t_ns, status=Status.OK, cam_from_world=true, covariance=covariance
            )
            supervisor.judge(frame, estimate)
        assert len(off) == len(angles) - 3, "three frames confirm the first pose"
        errors[odometry] = np.degrees(np.linalg.norm(off, axis=1).max())
    assert errors[True] < 0.5 < 2.0 < errors[False]


def test_the_clock_with_the_shortest_way_counts() -> None:
    clock = AutopilotClock()
    clock.answer(1000, 500_000, 9000)  # 8 us there and back
    clock.answer(11_000, 507_300, 13_000)
    assert clock.ours(507_300) == 12_000
    clock.answer(0, 10**12, 10)  # it was switched on again
    assert clock.ours(10**12) == 5


def test_places_on_earth(autopilot: Autopilot, opened: Open) -> None:
    facts = replace(FACTS, world=NORTH_KNOWN)
    estimate = flying(body(EAST, UP, np.array([0.0, 111.2, 30.0])))
    opened("as=global_position&autopilot=px4", facts).write(estimate)
    sensor = autopilot.next("GLOBAL_POSITION_SENSOR")
    assert sensor.lat * 1e-7 == pytest.approx(47.001, abs=1e-6)  # a thousandth of a degree
    assert sensor.lon == 80_000_000 and sensor.alt == pytest.approx(430.0, abs=0.01)
    assert sensor.source == 2 and sensor.eph == pytest.approx(0.01, rel=0.1)
    opened("as=gps_input&autopilot=ardupilot", facts).write(estimate)
    gps = autopilot.next("GPS_INPUT")
    assert (gps.lat, gps.lon, gps.fix_type, gps.yaw) == (sensor.lat, sensor.lon, 3, 9000)
    told_s = gps.time_week * 604_800 + gps.time_week_ms / 1e3 + 315_964_800 - 18
    assert abs(told_s - time.time()) < WAIT_S


def test_the_origin_is_set_until_it_is_confirmed(autopilot: Autopilot, opened: Open) -> None:
    opened("origin=map", replace(FACTS, world=NORTH_KNOWN))
    autopilot.greet()
    origin = autopilot.next("SET_GPS_GLOBAL_ORIGIN")
    assert (origin.latitude, origin.longitude) == (470_000_000, 80_000_000)
    assert (origin.altitude, origin.target_system) == (400_000, 1)


@pytest.mark.parametrize(
    ("options", "facts", "words"),
    [
        ("", replace(FACTS, camera=CAMERA), "say --mount front, nadir or FILE"),
        ("", replace(FACTS, world=World(metric=False)), "no metre.*edge-reloc align"),
        ("", replace(FACTS, world=World(metric=True)), "which way is down.*edge-reloc align"),
        ("as=gps_input", FACTS, "as=gps_input needs a map that knows where north"),
        ("origin=map", FACTS, "origin=map needs a map with a georeference"),
        ("origin=91,0,0", FACTS, "origin: found '91,0,0'"),
        ("origin=47,8,nan", FACTS, "expected map or LATITUDE,LONGITUDE,ALTITUDE"),
        ("origin=47,8", FACTS, "expected map or LATITUDE,LONGITUDE,ALTITUDE"),
        ("autopilot=inav", FACTS, "expected px4, ardupilot"),
        (
            "as=gps_input&autopilot=px4",
            replace(FACTS, world=NORTH_KNOWN),
            "PX4 takes no GPS_INPUT; say as=global_position",
        ),
    ],
)
def test_what_would_mislead_an_autopilot_is_refused(
    options: str, facts: RunFacts, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        MavlinkSink(f"udpout:127.0.0.1:1?{options}", facts)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere", "expected udpout:HOST:PORT"),
        ("udpout:127.0.0.1:70000", "port 70000, expected a number below 65536"),
        ("/dev/nothing,57600", "is it plugged in"),
        ("/dev/null,57600", "not a serial port"),
        ("/dev/null,12345", "12345 is no baud rate"),
        ("tcp:127.0.0.1:1", "is the autopilot on"),
    ],
)
def test_links_that_cannot_be_opened(address: str, words: str) -> None:
    with pytest.raises((ConfigError, SinkError), match=words):
        MavlinkSink(address, FACTS)


def test_old_poses_of_a_camera_are_dropped_and_told(
    autopilot: Autopilot, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    sink = opened(facts=replace(FACTS, live=True))
    old = replace(flying(body(NORTH, UP, EAST)), t_ns=time.monotonic_ns() - 700_000_000)
    for _ in range(3):
        sink.write(old)
    assert (sink.sent, sink.unsent) == (0, 3)
    assert len([r for r in caplog.records if "was not sent" in r.message]) == 1


def test_poses_too_far_apart_are_told_once() -> None:
    pace = Pace(PX4)
    told = [pace.sent(n * 300_000_000) for n in range(30)]
    complaints = [text for text in told if text]
    assert len(complaints) == 1 and "300 ms apart" in complaints[0] and "--rate" in complaints[0]
    pace = Pace(PX4)
    assert not any(pace.sent(n * 50_000_000) for n in range(30))


def test_a_serial_port_that_takes_nothing_costs_messages_only() -> None:
    """A pseudo-terminal whose other end is not read."""
    ours, theirs = os.openpty()
    tty.setraw(ours)
    link = SerialLink(os.ttyname(theirs), 921_600)
    link.send(b"a" * 100)
    assert os.read(ours, 200) == b"a" * 100
    os.write(ours, b"reply")
    assert link.receive(WAIT_S) == b"reply"
    begin_s = time.monotonic()
    assert not all(link.send(b"a" * 280) for _ in range(60))
    assert time.monotonic() - begin_s < WAIT_S
    link.close()
    os.close(ours)
    os.close(theirs)


def test_a_serial_port_that_goes_away_is_opened_again(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"

    def plug_in() -> tuple[int, int]:
        ours, theirs = os.openpty()
        device.unlink(missing_ok=True)
        device.symlink_to(os.ttyname(theirs))
        return ours, theirs

    ours, theirs = plug_in()
    link = SerialLink(str(device), 57_600)
    os.close(theirs)
    os.close(ours)
    assert link.receive(WAIT_S) == b"" and not link.send(b"gone")
    ours, theirs = plug_in()
    end_s = time.monotonic() + WAIT_S
    while not link.send(b"back") and time.monotonic() < end_s:
        link.receive(0.01)
    assert os.read(ours, 10) == b"back"
    link.close()
    assert not link.send(b"closed")
    os.close(ours)
    os.close(theirs)


def test_a_stream_that_breaks_is_connected_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = TcpLink("127.0.0.1", server.getsockname()[1])
        server.accept()[0].close()
        while link.receive(0.1) or "lost" not in caplog.text:
            pass
        assert not link.send(b"gone")
        server.settimeout(0.05)
        again = None
        while again is None:
            link.receive(0.01)
            try:
                again = server.accept()[0]
            except TimeoutError:
                continue
        link.send(b"back")
        assert again.recv(10) == b"back"
        again.close()
    link.close()


def test_rotation_vector_is_of_the_world(autopilot: Autopilot, opened: Open) -> None:
    """The quaternion turns the body into the world, not the other way."""
    sink = opened("autopilot=px4", replace(FACTS, world=NORTH_KNOWN))
    sink.write(flying(body(EAST, UP, NORTH)))
    rotation = rotation_from_quat(autopilot.next("ODOMETRY").q)
    np.testing.assert_allclose(rotation_vector(rotation), [0, 0, pi / 2], atol=FLOAT32)
