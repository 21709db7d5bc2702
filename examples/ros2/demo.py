"""The node on the demo's frames: publishes them as a camera of a moving robot, and compares.

In a shell with ROS 2: python examples/ros2/demo.py [--frames 40] [--rate 5] [--once]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.frames import MOUNTS, level_from_world
from edge_reloc.geometry.rigid import compose, invert, rotation_from_quat, so3_exp
from edge_reloc.reference.colmap import read_model
from edge_reloc.ros2.messages import header, matrix_of, stamp_of, tf_message
from edge_reloc.ros2.publisher import POSE, TRIGGER, make_message
from edge_reloc.running.demo import demo_folder

HERE = Path(__file__).parent
MAP_FROM_ODOM = compose(so3_exp([0.0, 0.0, 0.7]), [1.0, -2.0, 0.3])  # what is to be found


class Robot(Node):
    """Gives images, camera_info and odometry; takes poses, transforms and diagnostics."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.images = self.create_publisher(Image, "visual_localization/image_0", 10)
        self.infos = self.create_publisher(CameraInfo, "visual_localization/camera_info_0", 10)
        self.tf = self.create_publisher(TFMessage, "/tf", 100)
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.create_publisher(TFMessage, "/tf_static", kept)
        mount = tf_message(make_message, MOUNTS["front"], 0, "base_link", "camera")
        self.static.publish(mount)
        self.poses: dict[int, PoseWithCovarianceStamped] = {}
        self.map_from_odom: list[np.ndarray] = []
        self.levels: list[int] = []
        self.create_subscription(
            PoseWithCovarianceStamped,
            POSE,
            lambda m: self.poses.update({stamp_of(m.header): m}),
            10,
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.create_subscription(TFMessage, "/tf", self.on_tf, 100)
        self.client = self.create_client(Trigger, TRIGGER)

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        self.levels.append(message.status[0].level[0])

    def on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            if transform.child_frame_id == "odom":
                self.map_from_odom.append(matrix_of(transform.transform))

    def trigger(self) -> None:
        """Ask for a pose, by the service."""
        asked = self.client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(self, asked, timeout_sec=10.0)
        print(f"trigger: success {asked.result().success}, poses so far {len(self.poses)}")

    def give(self, photo: Path, map_from_base: np.ndarray) -> int:
        """Publish one frame and its odometry; the stamp."""
        stamp_ns = self.get_clock().now().nanoseconds
        odom_from_base = invert(MAP_FROM_ODOM) @ map_from_base
        for t_ns in (stamp_ns - 10_000_000, stamp_ns + 10_000_000):
            self.tf.publish(tf_message(make_message, odom_from_base, t_ns, "odom", "base_link"))
        image, camera = cv2.imread(str(photo)), read_camera(demo_folder() / "camera.json")
        about = header(make_message, stamp_ns, "camera")
        height, width = image.shape[:2]
        camera = camera.scaled_to(width, height)
        k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        info = CameraInfo(header=about, width=width, height=height, k=k)
        info.distortion_model = "rational_polynomial"
        info.d = list(camera.distortion)
        self.infos.publish(info)
        data = image.tobytes()
        self.images.publish(
            Image(
                header=about,
                width=width,
                height=height,
                encoding="bgr8",
                step=3 * width,
                data=data,
            )
        )
        return stamp_ns


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rate", type=float, default=5.0, help="Hz")
    parser.add_argument("--seconds", type=float, default=120.0, help="for everything")
    parser.add_argument("--once", action="store_true", help="two poses, one for each trigger")
    options = parser.parse_args()
    truth = {image.name: image for image in read_model(demo_folder() / "truth").images}
    gravity = open_bundle(demo_folder() / "map").manifest.world.gravity
    level = compose(np.eye(3) if gravity is None else level_from_world(gravity), np.zeros(3))
    photos = sorted((demo_folder() / "frames").glob("*.jpg"))[: options.frames]
    given = [
        *("map_dir:=" + str(demo_folder() / "map"), "odom_frame:=odom"),
        "publish_map_to_base_tf:=true",
        f"enable_continuous_localization:={str(not options.once).lower()}",
    ]
    command = [sys.executable, "-m", "edge_reloc_ros2.visual_localization", "--ros-args"]
    command += [word for value in given for word in ("-p", value)]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    node = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    rclpy.init()
    robot, until = Robot(), time.monotonic() + options.seconds
    sent: dict[int, np.ndarray] = {}
    try:
        if not robot.client.wait_for_service(timeout_sec=30.0):
            print("the node did not come up")
            return 1
        for number, photo in enumerate(photos):
            if number in (0, len(photos) // 2):
                robot.trigger()
            map_from_base = level @ invert(MOUNTS["front"] @ truth[photo.name].cam_from_world)
            sent[robot.give(photo, map_from_base)] = map_from_base
            due = time.monotonic() + 1.0 / options.rate
            while time.monotonic() < min(due, until):
                rclpy.spin_once(robot, timeout_sec=0.01)
        late = min(time.monotonic() + 3.0, until)
        while time.monotonic() < late:
            rclpy.spin_once(robot, timeout_sec=0.01)
    finally:
        node.terminate()
        node.wait(20.0)
    return report(robot, sent)


def report(robot: Robot, sent: dict[int, np.ndarray]) -> int:
    """Print how far off poses and map to odom are; 0 where there are any and all are near."""
    errors, squares = [], []
    for stamp_ns, message in robot.poses.items():
        pose, covariance = message.pose.pose, np.reshape(message.pose.covariance, (6, 6))
        q = pose.orientation
        said = compose(
            rotation_from_quat([q.w, q.x, q.y, q.z]),
            [pose.position.x, pose.position.y, pose.position.z],
        )
        errors.append(np.linalg.norm(said[:3, 3] - sent[stamp_ns][:3, 3]))
        squares.append(np.trace(covariance[:3, :3]))
    odom = [np.linalg.norm((m @ invert(MAP_FROM_ODOM))[:3, 3]) for m in robot.map_from_odom]
    print(f"frames {len(sent)}, poses {len(errors)}, diagnostics {len(robot.levels)}")
    if not errors or not odom:
        return 1
    print(
        f"pose error m: median {np.median(errors):.4f}, max {np.max(errors):.4f}; claimed sigma "
        f"{np.sqrt(np.median(squares)):.4f}"
    )
    print(f"map -> odom error m: last {odom[-1]:.4f}, of {len(odom)} transforms")
    return int(np.max(errors) > 0.2 or odom[-1] > 0.2)


if __name__ == "__main__":
    sys.exit(main())
