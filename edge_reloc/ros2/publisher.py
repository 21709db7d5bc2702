"""Poses, transforms and diagnostics of a run on the topics of ROS 2."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import F64
from ..bundle.manifest import World
from ..geometry.frames import Placed, level_from_world, place
from ..geometry.rigid import invert
from ..structs import PoseEstimate
from .messages import MakeMessage, diagnostics_message, pose_message, tf_message
from .stamps import Stamps
from .transforms import Transforms

log = logging.getLogger(__name__)

POSE, TRIGGER = "visual_localization/pose", "visual_localization/trigger_localization"


@dataclass(frozen=True, kw_only=True)
class FrameNames:
    """Parameters of the node, by the names that Isaac ROS's has; of `odom` and tolerance, ours."""

    map_frame: str = "map"
    base_frame: str = "base_link"
    #: of odometry, whose transform to the base somebody else gives; "" where there is none
    odom_frame: str = ""
    publish_map_to_base_tf: bool = False
    invert_map_to_base_tf: bool = False
    #: how far ahead of its time map to odom holds, seconds: until the next one comes
    transform_tolerance: float = 0.5


class Ros2Publisher:
    """A sink on a node of rclpy.

    Poses that are to be used are published, propagated ones too. Unless `continuous`, one pose
    ends it until `trigger`. Where `odom_frame` is named and known at the frame's time, map to
    odom is given, again with every frame, because odometry goes on where localisation does not;
    otherwise map to base, of poses alone.
    """

    def __init__(
        self,
        node: Any,
        names: FrameNames,
        world: World,
        body_from_cam: F64 | None,
        stamps: Stamps,
        transforms: Transforms | None = None,
        *,
        continuous: bool = True,
        make: MakeMessage | None = None,
    ) -> None:
        self._names, self._mount, self._stamps = names, body_from_cam, stamps
        self._continuous, self._make = continuous, make or make_message
        self._transforms = transforms
        self._level = np.eye(3) if world.gravity is None else level_from_world(world.gravity)
        if body_from_cam is None:
            log.warning(
                "ros2: nobody said how the camera is mounted: what is published as "
                "%s is the camera (x right, y down, z forward); see --mount",
                names.base_frame,
            )
        if world.gravity is None:
            log.warning(
                "ros2: the map does not know which way is down: frame %s may tilt", names.map_frame
            )
        pose = message_type("geometry_msgs/msg/PoseWithCovarianceStamped")
        self._pose = node.create_publisher(pose, POSE, 10)
        diagnostics = message_type("diagnostic_msgs/msg/DiagnosticArray")
        self._diagnostics = node.create_publisher(diagnostics, "/diagnostics", 10)
        self._tf = None
        if names.publish_map_to_base_tf:
            self._tf = node.create_publisher(message_type("tf2_msgs/msg/TFMessage"), "/tf", 100)
        self._map_from_odom: F64 | None = None
        #: whether the next frame is to be localised
        self.triggered = True
        #: poses so far
        self.published = 0

    def trigger(self) -> None:
        """Localise until there is a pose, at least."""
        self.triggered = True

    def keep(self, stamp_ns: int) -> None:
        """A frame that is not to be localised came: map to odom still holds."""
        if self._tf is not None and self._map_from_odom is not None:
            self._give_transform(None, stamp_ns)

    def write(self, estimate: PoseEstimate) -> None:
        if not self.triggered:
            return
        names, stamp_ns = self._names, self._stamps.stamp_ns(estimate.t_ns)
        placed = self._placed(estimate)
        if placed is not None:
            self._pose.publish(pose_message(self._make, placed, stamp_ns, names.map_frame))
            self.published += 1
            self.triggered = self._continuous
        if self._tf is not None and not estimate.propagated:
            self._give_transform(placed, stamp_ns)
        if not estimate.propagated:
            told = diagnostics_message(
                self._make,
                estimate,
                stamp_ns,
                names.map_frame,
                triggered=self.triggered,
                published=self.published,
            )
            self._diagnostics.publish(told)

    def close(self) -> None: ...

    def _placed(self, estimate: PoseEstimate) -> Placed | None:
        if not estimate.usable or estimate.covariance is None or estimate.cam_from_world is None:
            return None
        placed = place(estimate.cam_from_world, estimate.covariance, self._mount)
        return placed.in_axes(self._level, np.eye(3))

    def _give_transform(self, placed: Placed | None, stamp_ns: int) -> None:
        assert self._tf is not None
        names = self._names
        if names.odom_frame:
            if placed is not None and self._transforms is not None:
                odom_from_base = self._transforms.lookup(
                    names.odom_frame, names.base_frame, stamp_ns
                )
                if odom_from_base is not None:
                    self._map_from_odom = placed.world_from_body @ invert(odom_from_base)
            if self._map_from_odom is None:
                return
            parent_from_child, child = self._map_from_odom, names.odom_frame
            stamp_ns += round(names.transform_tolerance * 1e9)
        elif placed is not None:
            parent_from_child, child = placed.world_from_body, names.base_frame
        else:
            return
        parent = names.map_frame
        if names.invert_map_to_base_tf:
            parent_from_child, parent, child = invert(parent_from_child), child, parent
        self._tf.publish(tf_message(self._make, parent_from_child, stamp_ns, parent, child))


def message_type(name: str) -> Any:
    """The class of a message by its ROS name. Raises ImportError where ROS has it not."""
    package, kind, message = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), message)


def make_message(name: str, /, **fields: Any) -> Any:
    """A message of rclpy."""
    if "level" in fields:  # ROS's `byte`
        fields["level"] = bytes([fields["level"]])
    return message_type(name)(**fields)
