"""Contents of ROS messages, whoever makes the types: rclpy, or a library that has only these.

World: REP 103, z up. Body: x forward, y left, z up. Rotations of covariances are about the
world's fixed axes, which is what `geometry_msgs/PoseWithCovariance` asks for.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from ..arrays import F64
from ..geometry.frames import Placed
from ..geometry.rigid import compose, quat_from_rotation, rotation_from_quat
from ..reasons import Reason
from ..structs import PoseEstimate, State

SECOND_NS = 1_000_000_000
OK, WARN, ERROR, STALE = range(4)  # diagnostic_msgs/DiagnosticStatus


class MakeMessage(Protocol):
    """Makes a message: `make("std_msgs/msg/Header", stamp=..., frame_id=...)`."""

    def __call__(self, name: str, /, **fields: Any) -> Any: ...


def header(make: MakeMessage, stamp_ns: int, frame: str) -> Any:
    """std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, SECOND_NS)
    stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def pose_message(make: MakeMessage, placed: Placed, stamp_ns: int, frame: str) -> Any:
    """geometry_msgs/PoseWithCovarianceStamped, covariance filled."""
    pose = make(
        "geometry_msgs/msg/Pose",
        position=_xyz(make, "Point", placed.xyz),
        orientation=_quaternion(make, placed.rotation),
    )
    covariance = placed.covariance.ravel()
    return make(
        "geometry_msgs/msg/PoseWithCovarianceStamped",
        header=header(make, stamp_ns, frame),
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=covariance),
    )


def tf_message(
    make: MakeMessage, parent_from_child: F64, stamp_ns: int, parent: str, child: str
) -> Any:
    """tf2_msgs/TFMessage of one transform (4,4): where the child is in the parent."""
    transform = make(
        "geometry_msgs/msg/Transform",
        translation=_xyz(make, "Vector3", parent_from_child[:3, 3]),
        rotation=_quaternion(make, parent_from_child[:3, :3]),
    )
    stamped = make(
        "geometry_msgs/msg/TransformStamped",
        header=header(make, stamp_ns, parent),
        child_frame_id=child,
        transform=transform,
    )
    return make("tf2_msgs/msg/TFMessage", transforms=[stamped])


def diagnostics_message(
    make: MakeMessage,
    estimate: PoseEstimate,
    stamp_ns: int,
    frame: str,
    *,
    triggered: bool,
    published: int,
) -> Any:
    """diagnostic_msgs/DiagnosticArray with one status; names are those of Isaac ROS, and more."""
    told: dict[str, object] = {
        "trigger_next_localization": "Yes" if triggered else "No",
        "localization_execution_time": f"{sum(estimate.stages_ms.values()) * 1e-3:.6f}",
        "num_published_poses": published,
        "status": estimate.status.value,
        "state": None if estimate.state is None else estimate.state.value,
        "state_reason": None if estimate.state_reason is None else estimate.state_reason.value,
        "reset_counter": estimate.reset_counter,
        "p_right": None if estimate.p_right is None else f"{estimate.p_right:.4f}",
        "inliers": estimate.inliers,
        "age_ms": None if estimate.age_ms is None else f"{estimate.age_ms:.1f}",
        "hpl_m": estimate.hpl_m,
        "vpl_m": estimate.vpl_m,
        "ypl_deg": estimate.ypl_deg,
    }
    status = make(
        "diagnostic_msgs/msg/DiagnosticStatus",
        level=_level(estimate),
        name="Visual Global Localization Diagnostics",
        message=estimate.reason or "localised",
        hardware_id="visual_global_localization",
        values=[
            make("diagnostic_msgs/msg/KeyValue", key=key, value=str(value))
            for key, value in told.items()
            if value is not None and not (isinstance(value, float) and math.isnan(value))
        ],
    )
    return make(
        "diagnostic_msgs/msg/DiagnosticArray", header=header(make, stamp_ns, frame), status=[status]
    )


def _level(estimate: PoseEstimate) -> int:
    if estimate.state_reason in (Reason.STALE, Reason.CAMERA_GONE):
        return STALE
    if estimate.state is State.LOST:
        return ERROR
    return OK if estimate.usable and estimate.state is not State.DEGRADED else WARN


def _xyz(make: MakeMessage, kind: str, xyz: F64) -> Any:
    x, y, z = (float(value) for value in xyz)
    return make(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)


def _quaternion(make: MakeMessage, rotation: F64) -> Any:
    w, x, y, z = (float(value) for value in quat_from_rotation(rotation))
    return make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def matrix_of(transform: Any) -> F64:
    """(4,4) of a geometry_msgs/Transform. ValueError for none."""
    t, q = transform.translation, transform.rotation
    numbers = (t.x, t.y, t.z, q.w, q.x, q.y, q.z)
    norm = math.hypot(q.w, q.x, q.y, q.z)
    if not all(map(math.isfinite, numbers)) or norm < 1e-6:
        raise ValueError("not a transform")
    return compose(rotation_from_quat([q.w, q.x, q.y, q.z]), [t.x, t.y, t.z])


def stamp_of(header: Any) -> int:
    """Nanoseconds of a std_msgs/Header."""
    return int(header.stamp.sec) * SECOND_NS + int(header.stamp.nanosec)
