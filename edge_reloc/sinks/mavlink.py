"""Poses for an autopilot, by MAVLink 2: `mavlink:udpout:127.0.0.1:14550?autopilot=px4`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from math import nan
from types import ModuleType
from typing import Any

import numpy as np

from ..arrays import F64
from ..errors import ConfigError, missing_package
from ..geometry.frames import FRD_FROM_FLU, Placed, rotation_of_angles
from ..geometry.rigid import rotation_from_quat
from ..structs import PoseEstimate, State
from . import mavlink_messages as messages
from .facts import RunFacts
from .mavlink_clock import PX4_CONVERGED, AutopilotClock
from .mavlink_link import Link, open_link
from .mavlink_pace import ARDUPILOT, OLDEST_MS, PX4, Pace
from .options import split_options

log = logging.getLogger(__name__)

COMPONENT = 197  # MAV_COMP_ID_VISUAL_INERTIAL_ODOMETRY
AUTOPILOTS = {3: "ardupilot", 12: "px4"}  # MAV_AUTOPILOT
BACK_NS = 1_000_000_000  # a pose older than the last by this: the clock was put back
TEXT_NS = 1_000_000_000  # between texts
HEARTBEAT_S, TIMESYNC_S, LISTEN_S = 1.0, 0.5, 0.1
ORIGIN_TRIES = 10  # a second apart
UNSYNCHRONISED_S = 5.0  # from PX4's first heartbeat until it should have asked for the time

HEARD = ("ATTITUDE", "ATTITUDE_QUATERNION", "LOCAL_POSITION_NED")
# MAV_CMD_SET_MESSAGE_INTERVAL of ATTITUDE_QUATERNION and LOCAL_POSITION_NED
MESSAGE_INTERVAL, HEARD_HZ, ASK_AGAIN_S = 511, ((31, 50.0), (32, 30.0)), 5.0
KINDS = ("odometry", "vision", "gps_input", "global_position")


def _one_of(*known: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"expected {', '.join(known)}")
        return text

    return read


def _identity(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 255:
        raise ValueError("expected 1 to 255")
    return value


def _origin(text: str) -> dict[str, float] | str:
    if text == "map":
        return text
    most = {"latitude_deg": 90.0, "longitude_deg": 180.0, "altitude_m": 100_000.0}
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) != len(most) or not all(
        abs(n) <= m for n, m in zip(numbers, most.values(), strict=True)
    ):
        raise ValueError("expected map or LATITUDE,LONGITUDE,ALTITUDE in degrees and metres")
    return dict(zip(most, numbers, strict=True))


OPTIONS: dict[str, Callable[[str], Any]] = {
    "autopilot": _one_of("px4", "ardupilot"),
    "as": _one_of(*KINDS),
    "system": _identity,
    "component": _identity,
    "origin": _origin,
}


class MavlinkSink:
    """A companion computer that says where its vehicle is.

    address: a link as FORMS says, with OPTIONS. Raises ConfigError where poses of this run would
    mislead an autopilot, SinkError for a link that cannot be opened and MissingPackageError.
    """

    def __init__(self, address: str, facts: RunFacts) -> None:
        link, options = split_options(address, OPTIONS)
        where = f"mavlink:{address}"
        self._autopilot: str | None = options.get("autopilot")
        self._kind = options.get("as", "odometry")
        self._mount = _mount(where, facts)
        _check_world(where, facts, self._kind, self._autopilot)
        self._georeference = facts.world.georeference
        self._axes = messages.world_axes(facts.world, takes_ned=self._autopilot == "px4")
        self._origin = _origin_asked(where, options.get("origin"), self._georeference)
        self._facts = facts
        self._dialect = dialect()
        self._link: Link = open_link(link)
        self._encoder = self._dialect.MAVLink(
            None, options.get("system", 1), options.get("component", COMPONENT)
        )
        self._parser = self._dialect.MAVLink(None)
        self._parser.robust_parsing = True
        self._lock = threading.Lock()
        self._pace = Pace(ARDUPILOT if self._autopilot == "ardupilot" else PX4)
        self._told: State | None = None
        self._told_ns = 0
        self._p_right: float | None = None
        self._heard: dict[str, float] = {}  # when, by what
        self._target = 0  # system of the autopilot
        self._origin_tries = 0
        self._hears_s = -ASK_AGAIN_S
        self.clock = AutopilotClock()
        self._sent_ns = -BACK_NS
        #: poses that were sent, and that were not: too old, or not taken by the link
        self.sent = self.unsent = 0
        #: that were older than one sent before
        self.passed_over = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"mavlink {link}", daemon=True)
        self._thread.start()
        if not facts.live:
            self._complain("stamps are those of a recording, which an autopilot would misplace")

    def write(self, estimate: PoseEstimate) -> None:
        """Send the pose, if there is one to use, and the state, if it changed."""
        self._tell_state(estimate)
        if not (estimate.usable and messages.finite(estimate)):
            if estimate.state in (State.LOST, State.SEARCHING):
                self._pace.interrupted()
            return
        if 0 <= self._sent_ns - estimate.t_ns < BACK_NS:
            self.passed_over += 1  # filters want them in order, and what followed knows of it
            return
        age_ms = (time.monotonic_ns() - estimate.t_ns) * 1e-6
        if self._facts.live and age_ms > OLDEST_MS:
            self.unsent += 1
            self._complain(self._pace.late(age_ms))
            return
        if not self._send_pose(estimate, age_ms):
            self.unsent += 1
            return
        self.sent += 1
        self._sent_ns = estimate.t_ns
        self._complain(self._pace.sent(estimate.t_ns))

    def _tell_state(self, estimate: PoseEstimate) -> None:
        """The state, if it changed: LOST at once, others not more often than people read."""
        state, told = estimate.state, self._told
        waited = abs(estimate.t_ns - self._told_ns) >= TEXT_NS
        if state is None or state is told or not (waited or state is State.LOST or told is None):
            return
        self._told, self._told_ns = state, estimate.t_ns
        self._send("statustext", messages.news(estimate))

    def _send_pose(self, estimate: PoseEstimate, age_ms: float) -> bool:
        body = messages.placed(estimate, self._axes, self._mount)
        if self._kind == "odometry":
            return self._send("odometry", self._odometry(estimate, body))
        if self._kind == "vision":
            fields = messages.vision_position(estimate, body)
            return self._send("vision_position_estimate", fields)
        assert self._georeference is not None
        place = messages.on_earth(body, self._georeference)
        if self._kind == "gps_input":
            taken_unix_s = time.time() - age_ms * 1e-3
            return self._send("gps_input", messages.gps_input(place, taken_unix_s))
        age_us = max(round(age_ms * 1e3), 0) if self._facts.live else 0
        fields = messages.global_position_sensor(estimate, place, age_us)
        return self._send("global_position_sensor", fields)

    def _odometry(self, estimate: PoseEstimate, body: Placed) -> dict[str, Any]:
        """A pose between frames is as likely right as the frame that it follows from."""
        if not estimate.propagated:
            self._p_right = estimate.p_right
        return messages.odometry(estimate, body, self._axes.frame_id, self._p_right)

    def close(self) -> None:
        """Stop; safe to call twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        self._link.close()

    def _complain(self, text: str | None) -> None:
        if text is not None:
            log.warning("mavlink:%s: %s", self._link.name, text)

    def _send(self, name: str, fields: Mapping[str, Any]) -> bool:
        message = getattr(self._dialect, f"MAVLink_{name}_message")(**fields)
        with self._lock:
            packed = message.pack(self._encoder)
            self._encoder.seq = (self._encoder.seq + 1) % 256
            return self._link.send(packed)

    def _serve(self) -> None:
        """Say that we are there, ask for the time, listen."""
        heartbeat_s = timesync_s = 0.0
        while not self._closing.is_set():
            now_s = time.monotonic()
            if now_s >= heartbeat_s:
                heartbeat_s = now_s + HEARTBEAT_S
                self._say_alive()
            if now_s >= timesync_s:
                timesync_s = now_s + TIMESYNC_S
                self._send("timesync", {"tc1": 0, "ts1": time.monotonic_ns()})
            for message in self._parser.parse_buffer(self._link.receive(LISTEN_S)) or ():
                self._take(message, time.monotonic_ns())

    def _say_alive(self) -> None:
        self._send("heartbeat", messages.heartbeat())
        if self._target and self._origin is not None and self._origin_tries < ORIGIN_TRIES:
            self._origin_tries += 1
            self._send("set_gps_global_origin", messages.origin(self._origin, self._target))
        self._ask_for_motion()
        self._check_synchronised()

    def _check_synchronised(self) -> None:
        first_s = self._heard.get("px4")
        waited_s = 0.0 if first_s is None else time.monotonic() - first_s
        if self.clock.answered or waited_s < UNSYNCHRONISED_S or not self._first("unsynchronised"):
            return
        self._complain(
            "PX4 asks for no TIMESYNC here and stamps poses with their arrival: set this port's "
            "MAV_x_MODE to Onboard, or EKF2_EV_DELAY to their age"
        )

    def _take(self, message: Any, now_ns: int) -> None:
        """Something that the other side said."""
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._take_heartbeat(message)
        elif kind == "TIMESYNC":
            self._take_timesync(message, now_ns)
        elif kind == "GPS_GLOBAL_ORIGIN":
            self._origin_tries = ORIGIN_TRIES
        elif kind in HEARD and message.get_srcSystem() == self._target:
            self._take_motion(message)

    def _take_heartbeat(self, message: Any) -> None:
        name = AUTOPILOTS.get(message.autopilot)
        if name is None or message.get_srcComponent() != 1:
            return
        self._target = message.get_srcSystem()
        if not self._first(name):
            return
        if self._autopilot is None and self._georeference is not None and name == "px4":
            self._complain("the map knows north and PX4 is not told: say autopilot=px4")
        if self._autopilot not in (None, name):
            self._complain(
                f"autopilot={self._autopilot} was said, {name} answers: poses may be "
                f"misunderstood; say autopilot={name}"
            )

    def _take_timesync(self, message: Any, now_ns: int) -> None:
        if message.tc1:
            if message.get_srcSystem() == self._target:
                self.clock.answer(message.ts1, message.tc1, now_ns)
            return
        self._send("timesync", {"tc1": now_ns, "ts1": message.ts1})
        self.clock.answered += 1
        if self.clock.answered == PX4_CONVERGED and "px4" in self._heard:
            log.info("mavlink:%s: PX4 was told the time; it uses our stamps now", self._link.name)

    def _take_motion(self, message: Any) -> None:
        """Attitude or position, told in the body's and the world's axes with z up."""
        advice = self._facts.advice
        if advice is None or not self.clock.known:
            return
        t_ns = self.clock.ours(message.time_boot_ms * 1_000_000)
        self._hears_s = time.monotonic()
        if message.get_type() == "LOCAL_POSITION_NED":
            advice.tell_place(t_ns, FRD_FROM_FLU.T @ [message.x, message.y, message.z])
            return
        if message.get_type() == "ATTITUDE":
            angles = (message.roll, message.pitch, message.yaw)
            rotation = rotation_of_angles(*angles)
        else:
            quat = np.array([message.q1, message.q2, message.q3, message.q4])
            rotation = rotation_from_quat(quat) if np.linalg.norm(quat) > 0.5 else quat * nan
        if np.isfinite(rotation).all():
            advice.tell_rotation(t_ns, FRD_FROM_FLU.T @ rotation @ FRD_FROM_FLU)

    def _ask_for_motion(self) -> None:
        """Attitude and position as often as frames need them, until they come."""
        silent = time.monotonic() - self._hears_s > ASK_AGAIN_S
        if not self._target or self._facts.advice is None or not silent:
            return
        self._hears_s = time.monotonic()
        for message, rate_hz in HEARD_HZ:
            fields = dict.fromkeys((f"param{n}" for n in range(3, 8)), 0.0)
            fields |= {"param1": float(message), "param2": 1e6 / rate_hz}
            to = {"target_system": self._target, "target_component": 1}
            self._send(
                "command_long", {**to, "command": MESSAGE_INTERVAL, **fields, "confirmation": 0}
            )

    def _first(self, what: str) -> bool:
        """Whether it is the first time."""
        if what in self._heard:
            return False
        self._heard[what] = time.monotonic()
        return True


def dialect() -> ModuleType:
    """pymavlink's messages. Raises MissingPackageError."""
    try:
        from pymavlink.dialects.v20 import common
    except ImportError:
        raise missing_package("pymavlink", "mavlink:", "mavlink") from None
    module: ModuleType = common
    return module


def _mount(where: str, facts: RunFacts) -> F64:
    mount = None if facts.camera is None else facts.camera.mount
    if mount is None:
        raise ConfigError(
            f"{where}: how the camera is mounted is not known, and an autopilot that is told the "
            f"wrong way crashes: say --mount front, nadir or FILE"
        )
    return mount


def _check_world(where: str, facts: RunFacts, kind: str, autopilot: str | None) -> None:
    world = facts.world
    if not world.metric:
        raise ConfigError(
            f"{where}: map '{facts.map_name}' has no metre, which autopilots count in: give it one "
            f"with 'edge-reloc align' or map it with --positions or --gps"
        )
    if world.georeference is None and world.gravity is None:
        raise ConfigError(
            f"{where}: map '{facts.map_name}' does not know which way is down: give it a vertical "
            f"with 'edge-reloc align' or map it with --gps"
        )
    if kind != "odometry" and world.georeference is None:
        raise ConfigError(
            f"{where}: as={kind} needs a map that knows where north and it are, and "
            f"'{facts.map_name}' does not: give it a georeference with 'edge-reloc align', or say "
            f"as=odometry"
        )
    if kind == "gps_input" and autopilot == "px4":
        raise ConfigError(f"{where}: PX4 takes no GPS_INPUT; say as=global_position")
    if kind == "global_position" and autopilot == "ardupilot":
        raise ConfigError(f"{where}: ArduPilot takes no GLOBAL_POSITION_SENSOR; say as=gps_input")


def _origin_asked(
    where: str, asked: dict[str, float] | str | None, georeference: dict[str, float] | None
) -> dict[str, float] | None:
    """The origin to be set; None for none."""
    if isinstance(asked, dict) and georeference is not None:
        raise ConfigError(f"{where}: the map has a georeference; say origin=map")
    if not isinstance(asked, str):
        return asked
    if georeference is None:
        raise ConfigError(
            f"{where}: origin=map needs a map with a georeference: make one with 'edge-reloc "
            f"align', or say origin=LATITUDE,LONGITUDE,ALTITUDE"
        )
    return georeference
