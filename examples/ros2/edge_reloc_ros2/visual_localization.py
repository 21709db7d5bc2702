"""Node `visual_localization`: poses of the images of one camera, by edge_reloc.

Topics, service and parameters have the names of Isaac ROS visual global localization, with one
camera (image_0, camera_info_0), and the covariance filled.
"""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from edge_reloc.errors import EdgeRelocError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.mount import read_mount
from edge_reloc.methods import Settings
from edge_reloc.ros2.image_messages import camera_of
from edge_reloc.ros2.localization import localize_topic
from edge_reloc.ros2.messages import stamp_of
from edge_reloc.ros2.publisher import TRIGGER, FrameNames, Ros2Publisher
from edge_reloc.ros2.stamps import Stamps
from edge_reloc.ros2.subscription import TopicCapture
from edge_reloc.ros2.transforms import Transforms
from edge_reloc.sinks.ros2 import listen
from edge_reloc.tiles.tiled_bundle import open_map

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
PARAMETERS: dict[str, Any] = {
    "map_dir": "",
    "calibration": "",
    "mount": "",
    "rectified": False,
    "method": "",
    "tracking": False,
    "num_cameras": 1,
    "enable_continuous_localization": True,
    "image_qos_profile": "SENSOR_DATA",
    "input_image_topic_name": "visual_localization/image",
    "input_camera_info_topic_name": "visual_localization/camera_info",
    "autostart": True,
    **{field.name: field.default for field in fields(FrameNames)},
}
PATIENCE_S = 5.0


class VisualLocalization(LifecycleNode):
    """Configuring opens the map; images are localised while active."""

    def __init__(self) -> None:
        super().__init__("visual_localization")
        for name, default in PARAMETERS.items():
            self.declare_parameter(name, default)
        self._ours: list[Any] = []  # subscriptions and services, while configured
        self._camera: Camera | None = None
        self._capture: TopicCapture | None = None
        self._publisher: Ros2Publisher | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._active = False

    def value(self, name: str) -> Any:
        """Of a parameter."""
        return self.get_parameter(name).value

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            if self.value("num_cameras") != 1:
                raise EdgeRelocError(
                    f"num_cameras: found {self.value('num_cameras')}, expected 1: a node takes the "
                    f"images of one camera"
                )
            self._bundle = open_map(self.value("map_dir"))
            chosen = {"method": self.value("method")} if self.value("method") else {}
            self._settings = Settings(tracking=self.value("tracking"), **chosen)
            self._names = FrameNames(**{f.name: self.value(f.name) for f in fields(FrameNames)})
            if self.value("calibration"):
                self._camera = read_camera(self.value("calibration"))
            self._mount = read_mount(self.value("mount")) if self.value("mount") else None
        except EdgeRelocError as error:
            self.get_logger().error(str(error))
            return FAILURE
        self._stamps, self._transforms = Stamps(), Transforms()
        qos: Any = 10
        if self.value("image_qos_profile") == "SENSOR_DATA":
            qos = qos_profile_sensor_data
        image, info = (
            f"{self.value(f'input_{kind}_topic_name')}_0" for kind in ("image", "camera_info")
        )
        self._ours = [
            self.create_subscription(Image, image, self._on_image, qos),
            self.create_subscription(CameraInfo, info, self._on_camera_info, qos),
            self.create_subscription(PoseWithCovarianceStamped, TRIGGER, self._on_trigger, 100),
            *listen(self, self._transforms),
            self.create_service(Trigger, TRIGGER, self._on_service),
        ]
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._end()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._end()
        *subscriptions, service = self._ours
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        self.destroy_service(service)
        self._ours = []
        self._camera = self._publisher = None  # of this map, these names and stamps
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._end()
        return SUCCESS

    def _on_camera_info(self, message: CameraInfo) -> None:
        if self._camera is not None or not any(message.k):
            return
        try:
            self._camera = camera_of(message, rectified=self.value("rectified"))
        except EdgeRelocError as error:
            self.get_logger().error(str(error), throttle_duration_sec=PATIENCE_S)

    def _on_image(self, message: Image) -> None:
        if not self._active:
            return
        if self._publisher is not None and not self._publisher.triggered:
            self._publisher.keep(stamp_of(message.header))
            return
        if self._thread is None and not self._begin(message):
            return
        assert self._capture is not None
        self._capture.offer(message)

    def _on_trigger(self, message: PoseWithCovarianceStamped) -> None:
        if self._publisher is not None:
            self._publisher.trigger()

    def _on_service(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._publisher is not None:
            self._publisher.trigger()
        response.success = self._active
        response.message = "" if self._active else "the node is not active"
        return response

    def _begin(self, message: Image) -> bool:
        """Start localising, once camera and mount are known."""
        if self._camera is None:
            self._wait("no calibrated camera_info has come, and 'calibration' names no file")
            return False
        mount, base, frame = self._mount, self._names.base_frame, message.header.frame_id
        if mount is None:
            mount = self._transforms.lookup(base, frame, stamp_of(message.header))
        if mount is None:
            self._wait(f"no transform {base} -> {frame}: publish it, or set parameter 'mount'")
            return False
        if self._publisher is None:
            self._publisher = Ros2Publisher(
                self,
                self._names,
                self._bundle.manifest.world,
                mount,
                self._stamps,
                self._transforms,
                continuous=self.value("enable_continuous_localization"),
            )
        self._capture = TopicCapture(self._ours[0].topic_name, self._stamps)
        self._stop.clear()
        self._thread = threading.Thread(target=self._localize, daemon=True)
        self._thread.start()
        return True

    def _localize(self) -> None:
        assert self._camera is not None and self._capture is not None
        assert self._publisher is not None
        try:
            localize_topic(
                self._bundle,
                self._camera,
                self._settings,
                self._capture,
                self._publisher,
                self._stop,
            )
        except EdgeRelocError as error:
            self.get_logger().error(f"{error}; no pose is published any more")

    def _wait(self, why: str) -> None:
        self.get_logger().warning(why, throttle_duration_sec=PATIENCE_S)

    def _end(self) -> None:
        self._active = False
        self._stop.set()
        if self._capture is not None:
            self._capture.close()
        if self._thread is not None:
            self._thread.join()
        self._thread = self._capture = None


def main() -> None:
    rclpy.init()
    node = VisualLocalization()
    if node.value("autostart"):
        if node.trigger_configure() is not SUCCESS:
            raise SystemExit(1)
        node.trigger_activate()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node._end()


if __name__ == "__main__":
    main()
