"""Poses, transforms and diagnostics to ROS 2 from a run that is no node: see docs/ros2.md."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import fields
from functools import partial
from typing import Any

from ..errors import ConfigError, MissingPackageError, SinkError
from ..ros2.publisher import FrameNames, Ros2Publisher, message_type
from ..ros2.stamps import Stamps
from ..ros2.transforms import Transforms
from ..structs import PoseEstimate
from .facts import RunFacts
from .options import split_options


class Ros2Sink:
    """A node of its own. rest: options, `?map_frame=map&publish_map_to_base_tf=true`.

    Photos and videos begin when the first of them is written.
    """

    def __init__(self, rest: str, facts: RunFacts) -> None:
        name, options = split_options(rest, {"node": str, **OPTIONS})
        if name:
            raise ConfigError(f"ros2:{rest}: expected options alone, such as ros2:?map_frame=map")
        try:
            import rclpy
            from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        except ImportError as error:
            raise MissingPackageError(
                f"ros2: needs rclpy, which comes with ROS 2 ({error}): source its setup.bash, and "
                f"use the same Python"
            ) from None
        node_name = options.pop("node", "edge_reloc")
        names = FrameNames(**options)
        self._context = rclpy.Context()
        self._node: Any = None
        try:
            rclpy.init(context=self._context, args=[])
            self._node = rclpy.create_node(node_name, context=self._context)
            transforms = None
            if names.odom_frame:
                transforms = Transforms()
                listen(self._node, transforms)
            mount = None if facts.camera is None else facts.camera.mount
            self._stamps, self._starts_now = Stamps(), not facts.live
            self._publisher = Ros2Publisher(
                self._node, names, facts.world, mount, self._stamps, transforms
            )
        except Exception as error:  # rclpy's own kinds, or messages that ROS lacks
            self.close()
            raise SinkError(f"ros2: no node can be made ({error})") from error
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self._node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        self._thread = threading.Thread(target=spin, name="ros2", daemon=True)
        self._thread.start()

    def write(self, estimate: PoseEstimate) -> None:
        if self._starts_now:  # times of photos and videos are of no clock
            self._starts_now = False
            self._stamps.offset_ns = time.time_ns() - estimate.t_ns
        try:
            self._publisher.write(estimate)
        except RuntimeError as error:
            raise SinkError(f"ros2: a pose cannot be published ({error})") from error

    def close(self) -> None:
        if not self._context.ok():
            return
        self._context.try_shutdown()
        if self._node is not None and hasattr(self, "_thread"):
            self._thread.join(5.0)


def listen(node: Any, transforms: Transforms) -> tuple[Any, Any]:
    """Subscribe to /tf and /tf_static; the subscriptions."""
    from rclpy.qos import DurabilityPolicy, QoSProfile

    kind = message_type("tf2_msgs/msg/TFMessage")
    kept = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return (
        node.create_subscription(kind, "/tf", transforms.add, 100),
        node.create_subscription(kind, "/tf_static", partial(transforms.add, fixed=True), kept),
    )


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("expected true or false")
    return text == "true"


READERS: dict[str, Any] = {"str": str, "bool": _flag, "float": float}
OPTIONS = {field.name: READERS[str(field.type)] for field in fields(FrameNames)}
