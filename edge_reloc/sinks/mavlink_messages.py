"""Estimates as the numbers of MAVLink messages; nothing here sends or asks anything.

Axes, covariances and quality as PX4 and ArduPilot read them: docs/autopilots.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np

from ..arrays import F64
from ..bundle.manifest import World
from ..geometry.frames import (
    FRD_FROM_FLU,
    FRD_FROM_LEVEL,
    NED_FROM_ENU,
    Placed,
    level_from_world,
    place,
    roll_pitch_yaw,
    upper_triangle,
)
from ..geometry.geodesy import geodetic_from_enu
from ..geometry.rigid import quat_from_rotation
from ..structs import PoseEstimate, State

# MAV_TYPE_ONBOARD_CONTROLLER, MAV_AUTOPILOT_INVALID, MAV_STATE_ACTIVE
COMPANION, NO_AUTOPILOT, ACTIVE = 18, 8, 4
# MAV_FRAME, MAV_ESTIMATOR_TYPE, GLOBAL_POSITION_SRC
LOCAL_NED, BODY_FRD, LOCAL_FRD = 1, 12, 20
VISION = 2
SOURCE_VISION = 2
# GPS_INPUT_IGNORE_FLAGS: horizontal and vertical velocity, its accuracy
NO_VELOCITY = 8 | 16 | 32
SATELLITES = 10  # GPS_INPUT alone: as many as ArduPilot wants to see before it arms
GPS_EPOCH_S, LEAP_S, WEEK_MS = 315_964_800, 18, 604_800_000
WARNING, INFO, TEXT_CHARACTERS = 4, 6, 50  # MAV_SEVERITY and length of STATUSTEXT


class WorldAxes(NamedTuple):
    """Of the world that poses are sent in."""

    #: (3,3) from the map's
    rotation: F64
    #: MAV_FRAME
    frame_id: int


def world_axes(world: World, *, takes_ned: bool) -> WorldAxes:
    """Axes of a level metric world: north, east, down where north is known.

    takes_ned: by its own name, as PX4 does; ArduPilot drops whatever is not called LOCAL_FRD,
    and takes that as north, east, down.
    """
    if world.georeference is not None:
        return WorldAxes(NED_FROM_ENU, LOCAL_NED if takes_ned else LOCAL_FRD)
    assert world.gravity is not None
    return WorldAxes(FRD_FROM_LEVEL @ level_from_world(world.gravity), LOCAL_FRD)


def placed(estimate: PoseEstimate, axes: WorldAxes, body_from_cam: F64) -> Placed:
    """The body (forward, right, down) in the world's axes of an estimate with a pose."""
    assert estimate.cam_from_world is not None and estimate.covariance is not None
    body = place(estimate.cam_from_world, estimate.covariance, body_from_cam)
    return body.in_axes(axes.rotation, FRD_FROM_FLU)


def heartbeat() -> dict[str, Any]:
    """HEARTBEAT of a companion computer."""
    return {
        "type": COMPANION,
        "autopilot": NO_AUTOPILOT,
        "base_mode": 0,
        "custom_mode": 0,
        "system_status": ACTIVE,
        "mavlink_version": 3,
    }


def quality_of(p_right: float | None) -> int:
    """1 to 100, 0 where nobody knows: -1 would say that there is no pose."""
    return 0 if p_right is None else min(max(round(100.0 * p_right), 1), 100)


def odometry(
    estimate: PoseEstimate, body: Placed, frame_id: int, p_right: float | None
) -> dict[str, Any]:
    """ODOMETRY. Its time is ours: autopilots bring it to theirs, PX4 by TIMESYNC."""
    return {
        "time_usec": estimate.t_ns // 1000,
        "frame_id": frame_id,
        "child_frame_id": BODY_FRD,
        **dict(zip("xyz", body.xyz, strict=True)),
        "q": quat_from_rotation(body.rotation).tolist(),
        **dict.fromkeys(("vx", "vy", "vz", "rollspeed", "pitchspeed", "yawspeed"), nan),
        "pose_covariance": upper_triangle(body.euler_covariance()),
        "velocity_covariance": [nan] * 21,
        "reset_counter": estimate.reset_counter % 256,
        "estimator_type": VISION,
        "quality": quality_of(p_right),
    }


def vision_position(estimate: PoseEstimate, body: Placed) -> dict[str, Any]:
    """VISION_POSITION_ESTIMATE, of a body in north, east, down."""
    roll, pitch, yaw = roll_pitch_yaw(body.rotation)
    return {
        "usec": estimate.t_ns // 1000,
        **dict(zip("xyz", body.xyz, strict=True)),
        "roll": roll,
        "pitch": pitch,
        "yaw": yaw,
        "covariance": upper_triangle(body.euler_covariance()),
        "reset_counter": estimate.reset_counter % 256,
    }


class OnEarth(NamedTuple):
    """A body in a georeferenced world."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    #: standard deviation; horizontally of the worst direction
    horizontal_m: float
    vertical_m: float
    #: clockwise from north, 0 to 360
    heading_deg: float


def on_earth(body: Placed, georeference: Mapping[str, float]) -> OnEarth:
    """Of a body in north, east, down."""
    latitude_deg, longitude_deg, altitude_m = geodetic_from_enu(
        NED_FROM_ENU.T @ body.xyz, georeference
    )
    worst = float(np.linalg.eigvalsh(body.covariance[:2, :2])[-1])
    return OnEarth(
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        altitude_m=altitude_m,
        horizontal_m=float(np.sqrt(worst)),
        vertical_m=float(np.sqrt(body.covariance[2, 2])),
        heading_deg=float(np.degrees(roll_pitch_yaw(body.rotation)[2]) % 360.0),
    )


def global_position_sensor(estimate: PoseEstimate, place: OnEarth, age_us: int) -> dict[str, Any]:
    """GLOBAL_POSITION_SENSOR, which PX4 fuses as an auxiliary global position."""
    return {
        "target_system": 0,
        "target_component": 0,
        "id": 1,
        "time_usec": estimate.t_ns // 1000,
        "processing_time": age_us,
        "source": SOURCE_VISION,
        "flags": 0,
        "lat": round(place.latitude_deg * 1e7),
        "lon": round(place.longitude_deg * 1e7),
        "alt_ellipsoid": nan,
        "alt": place.altitude_m,
        "eph": place.horizontal_m,
        "epv": place.vertical_m,
    }


def gps_input(place: OnEarth, taken_unix_s: float) -> dict[str, Any]:
    """GPS_INPUT, for ArduPilot. taken_unix_s: wall time of the frame."""
    week, week_ms = divmod(round((taken_unix_s - GPS_EPOCH_S + LEAP_S) * 1e3), WEEK_MS)
    return {
        "time_usec": round(taken_unix_s * 1e6),
        "gps_id": 0,
        "ignore_flags": NO_VELOCITY,
        "time_week_ms": week_ms,
        "time_week": week,
        "fix_type": 3,
        "lat": round(place.latitude_deg * 1e7),
        "lon": round(place.longitude_deg * 1e7),
        "alt": place.altitude_m,
        "hdop": max(place.horizontal_m, 0.1),
        "vdop": max(place.vertical_m, 0.1),
        **dict.fromkeys(("vn", "ve", "vd", "speed_accuracy"), 0.0),
        "horiz_accuracy": place.horizontal_m,
        "vert_accuracy": place.vertical_m,
        "satellites_visible": SATELLITES,
        # of north, where 0 would say that it is unknown
        "yaw": round(place.heading_deg * 100) or 36_000,
    }


def origin(georeference: Mapping[str, float], system: int) -> dict[str, Any]:
    """SET_GPS_GLOBAL_ORIGIN."""
    return {
        "target_system": system,
        "latitude": round(georeference["latitude_deg"] * 1e7),
        "longitude": round(georeference["longitude_deg"] * 1e7),
        "altitude": round(georeference["altitude_m"] * 1e3),
        "time_usec": 0,
    }


def news(estimate: PoseEstimate) -> dict[str, Any]:
    """STATUSTEXT of a state."""
    state, reason = estimate.state, estimate.state_reason
    assert state is not None
    words = f"edge-reloc {state.value}" + ("" if reason is None else f" {reason.value}")
    severity = WARNING if state in (State.DEGRADED, State.LOST) else INFO
    return {"severity": severity, "text": words.encode()[:TEXT_CHARACTERS]}


def finite(estimate: PoseEstimate) -> bool:
    """Whether no number of it would stop a filter."""
    pose, covariance = estimate.cam_from_world, estimate.covariance
    return (
        pose is not None
        and covariance is not None
        and isfinite(float(pose.sum()))
        and isfinite(float(covariance.sum()))
    )
