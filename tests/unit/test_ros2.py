"""What goes to and comes from ROS 2, by its own types, serialised and read back; without ROS."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections import defaultdict
from typing import Any

import cv2
import numpy as np
import pytest

rosbags = pytest.importorskip("rosbags.typesys", reason="pip install 'edge-reloc[test]'")

from edge_reloc.bundle.manifest import World
from edge_reloc.errors import CameraError, ConfigError, MissingPackageError, SourceError
from edge_reloc.geometry.frames import MOUNTS, place
from edge_reloc.geometry.rigid import compose, invert, so3_exp
from edge_reloc.reasons import Reason
from edge_reloc.ros2 import publisher as publishing
from edge_reloc.ros2.image_messages import ENCODINGS, camera_of, grey_of
from edge_reloc.ros2.messages import header, matrix_of, pose_message, stamp_of, tf_message
from edge_reloc.ros2.publisher import FrameNames, Ros2Publisher
from edge_reloc.ros2.stamps import Stamps, measured_offset_ns
from edge_reloc.ros2.subscription import TopicCapture
from edge_reloc.ros2.transforms import Transforms
from edge_reloc.sinks import open_sink
from edge_reloc.structs import PoseEstimate, State, Status

STORE = rosbags.get_typestore(rosbags.Stores.ROS2_HUMBLE)
LEVEL = World(metric=True, gravity=(0.0, 0.0, -1.0))
T_NS, OFFSET_NS = 5_000_000_017, 1_795_000_000_123_456_789
EAST_CAMERA = invert(compose([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [3.0, 4.0, 5.0]))


def make(name: str, /, **fields: Any) -> Any:
    """A message of rosbags' types."""
    return STORE.types[name](**fields)


def back(message: Any) -> Any:
    """The same, serialised as ROS 2 does and read again."""
    return STORE.deserialize_cdr(
        STORE.serialize_cdr(message, message.__msgtype__), message.__msgtype__
    )


def located(t_ns: int = T_NS, **fields: Any) -> PoseEstimate:
    """A camera at (3, 4, 5) that looks east, upright."""
    given = {"status": Status.OK, "state": State.TRACKING, "cam_from_world": EAST_CAMERA, **fields}
    return PoseEstimate(t_ns=t_ns, covariance=np.diag([1.0, 2, 3, 4, 5, 6]), **given)


def lost(t_ns: int = T_NS) -> PoseEstimate:
    return PoseEstimate(t_ns=t_ns, status=Status.NO_MATCHES, reason="3 matches", state=State.LOST)


def test_a_pose_with_its_covariance() -> None:
    placed = place(EAST_CAMERA, np.diag([1.0, 2, 3, 4, 5, 6]), MOUNTS["front"])
    message = back(pose_message(make, placed, T_NS + OFFSET_NS, "map"))
    assert stamp_of(message.header) == T_NS + OFFSET_NS and message.header.frame_id == "map"
    pose = message.pose.pose
    assert (pose.position.x, pose.position.y, pose.position.z) == pytest.approx((3, 4, 5))
    q = pose.orientation
    np.testing.assert_allclose([q.x, q.y, q.z, q.w], [0, 0, 0, 1], atol=1e-12)
    # The camera's right is south, its down is down, ahead is east.
    variances = np.diag(message.pose.covariance.reshape(6, 6))
    np.testing.assert_allclose(variances, [6, 4, 5, 3, 1, 2], atol=1e-12)


def test_a_body_that_looks_north_has_a_yaw_of_ninety_degrees() -> None:
    """Row-major order and the order of quaternions, by a case that is not symmetric."""
    world_from_body = compose(so3_exp([0, 0, np.pi / 2]), [1.0, 2.0, 3.0])
    message = back(tf_message(make, world_from_body, T_NS, "map", "base_link")).transforms[0]
    assert (message.header.frame_id, message.child_frame_id) == ("map", "base_link")
    q = message.transform.rotation
    half = np.sqrt(0.5)
    np.testing.assert_allclose([q.x, q.y, q.z, q.w], [0, 0, half, half], atol=1e-12)
    np.testing.assert_allclose(matrix_of(message.transform), world_from_body, atol=1e-12)


class Node:
    """Remembers what was published, by topic."""

    def __init__(self) -> None:
        self.published: dict[str, list[Any]] = defaultdict(list)

    def create_publisher(self, kind: Any, topic: str, depth: int) -> Any:
        node = self

        class Publisher:
            def publish(self, message: Any) -> None:
                node.published[topic].append(back(message))

        return Publisher()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(publishing, "message_type", lambda name: name)
    return Node()


def publisher(node: Node, names: FrameNames, **kwargs: Any) -> Ros2Publisher:
    stamps = Stamps(OFFSET_NS)
    return Ros2Publisher(node, names, LEVEL, MOUNTS["front"], stamps, make=make, **kwargs)


def test_map_to_base(node: Node) -> None:
    sink = publisher(node, FrameNames(publish_map_to_base_tf=True))
    for estimate in (located(), lost(T_NS + 1), located(T_NS + 2, propagated=True)):
        sink.write(estimate)
    poses = node.published["visual_localization/pose"]
    stamps = [stamp_of(message.header) - OFFSET_NS for message in poses]
    assert stamps == [T_NS, T_NS + 2]
    (tf,) = node.published["/tf"]
    assert tf.transforms[0].child_frame_id == "base_link"
    statuses = [message.status[0] for message in node.published["/diagnostics"]]
    assert [status.level for status in statuses] == [0, 2]
    assert [status.message for status in statuses] == ["localised", "3 matches"]
    told = {pair.key: pair.value for pair in statuses[0].values}
    assert told["state"] == "TRACKING" and told["num_published_poses"] == "1"
    sink.write(located(state=State.DEGRADED))
    sink.write(PoseEstimate(t_ns=1, status=Status.NO_FEATURES, state_reason=Reason.STALE))
    levels = [message.status[0].level for message in node.published["/diagnostics"]]
    assert levels == [0, 2, 1, 3]


def odometry(stamp_ns: int, odom_from_base: np.ndarray) -> Any:
    return tf_message(make, odom_from_base, stamp_ns, "odom", "base_link")


def test_map_to_odom_goes_on_without_poses(node: Node) -> None:
    transforms = Transforms()
    sink = publisher(
        node, FrameNames(publish_map_to_base_tf=True, odom_frame="odom"), transforms=transforms
    )
    sink.write(located())
    assert not node.published["/tf"], "odometry is not known yet"
    map_from_odom = compose(so3_exp([0.1, 0.2, 2.0]), [7.0, -1.0, 0.5])
    map_from_base = compose(np.eye(3), [3.0, 4.0, 5.0])
    odom_from_base = invert(map_from_odom) @ map_from_base
    # Half-way between two times that odometry tells of.
    for side in (-1, 1):
        moved = compose(odom_from_base[:3, :3], odom_from_base[:3, 3] + side * np.array([1, 2, 3]))
        transforms.add(odometry(T_NS + OFFSET_NS + side * 1_000_000, moved))
    sink.write(located())
    sink.write(lost(T_NS + 100))
    sink.keep(T_NS + 200 + OFFSET_NS)
    given = [message.transforms[0] for message in node.published["/tf"]]
    for message, t_ns in zip(given, (T_NS, T_NS + 100, T_NS + 200), strict=True):
        assert (message.header.frame_id, message.child_frame_id) == ("map", "odom")
        assert stamp_of(message.header) - OFFSET_NS == t_ns + 500_000_000
        np.testing.assert_allclose(matrix_of(message.transform), map_from_odom, atol=1e-9)


def test_one_pose_a_trigger(node: Node) -> None:
    sink = publisher(node, FrameNames(), continuous=False)
    sink.keep(0)
    for estimate in (lost(), located(), located(), lost()):
        sink.write(estimate)
    assert len(node.published["visual_localization/pose"]) == 1
    told = [message.status[0].values[0].value for message in node.published["/diagnostics"]]
    assert told == ["Yes", "No"]
    sink.trigger()
    sink.write(located())
    assert len(node.published["visual_localization/pose"]) == 2
    assert "/tf" not in node.published


def test_transforms_at_any_time_of_the_last_seconds() -> None:
    transforms = Transforms()
    base_from_cam = compose(so3_exp([0.3, -0.2, 0.1]), [0.1, 0.2, 0.3])
    transforms.add(tf_message(make, base_from_cam, 0, "/base_link", "/camera"), fixed=True)
    turn = 0.8
    for second in range(3):
        where = compose(so3_exp([0, 0, turn * second]), [1.0 * second, 0, 0])
        transforms.add(odometry(second * 10**9, where))
    expected = compose(so3_exp([0, 0, 1.25 * turn]), [1.25, 0, 0]) @ base_from_cam
    found = transforms.lookup("odom", "camera", 1_250_000_000)
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-12)
    found = transforms.lookup("camera", "odom", 1_250_000_000)
    np.testing.assert_allclose(found, invert(expected), atol=1e-12)
    np.testing.assert_allclose(transforms.lookup("base_link", "camera", -5), base_from_cam)
    assert transforms.lookup("odom", "camera", 2 * 10**9) is not None
    for t_ns in (-1, 2 * 10**9 + 1):
        assert transforms.lookup("odom", "camera", t_ns) is None
    assert transforms.lookup("map", "camera", 10**9) is None
    transforms.add(odometry(30 * 10**9, np.eye(4)))
    assert transforms.lookup("odom", "base_link", 10**9) is None, "too long ago"
    transforms.add(odometry(5, np.eye(4)))  # a bag begins anew
    assert transforms.lookup("odom", "base_link", 5) is not None
    spoilt = odometry(6, np.full((4, 4), np.nan))
    transforms.add(spoilt)
    assert transforms.lookup("odom", "base_link", 6) is None
    transforms.add(tf_message(make, np.eye(4), 5, "camera", "odom"), fixed=True)  # a circle
    assert transforms.lookup("nowhere", "camera", 5) is None


def test_stamps_come_out_as_they_went_in() -> None:
    stamps = Stamps()
    assert abs(stamps.offset_ns - measured_offset_ns()) < 1_000_000
    stamp_ns, received_ns = time.time_ns(), time.monotonic_ns()
    t_ns = stamps.monotonic_ns(stamp_ns, received_ns)
    assert abs(t_ns - received_ns) < 50_000_000
    assert stamps.stamp_ns(t_ns) == stamp_ns
    of_a_bag = 1_500_000_000_000_000_001
    assert stamps.monotonic_ns(of_a_bag, received_ns) == received_ns
    assert stamps.monotonic_ns(of_a_bag + 100, received_ns + 900) == received_ns + 100
    assert stamps.stamp_ns(received_ns + 100) == of_a_bag + 100


def image(pixels: np.ndarray, encoding: str, padding: int = 0) -> Any:
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
    return back(
        make(
            "sensor_msgs/msg/Image",
            header=header(make, T_NS, "camera"),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=rows.shape[1],
            data=rows.ravel(),
        )
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_images_of_every_encoding(encoding: str) -> None:
    """A field of one colour, which no demosaicing can blur: its grey is known."""
    blue, green, red = 30, 200, 90
    colour = np.full((8, 12, 3), (blue, green, red), np.uint8)
    grey = int(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)[0, 0])
    values = {"b": blue, "g": green, "r": red, "a": 255}
    if encoding.startswith("bayer"):
        pattern = [values[letter] for letter in encoding[6:10]]
        pixels = np.tile(np.array(pattern, np.uint8).reshape(2, 2), (4, 6))
    elif encoding in ("mono8", "8UC1"):
        pixels = np.full((8, 12), grey, np.uint8)
    elif encoding in ("yuv422", "uyvy"):
        pixels = np.tile(np.array([128, grey], np.uint8), (8, 12)).reshape(8, 12, 2)
    elif encoding in ("yuv422_yuy2", "yuyv"):
        pixels = np.tile(np.array([grey, 128], np.uint8), (8, 12)).reshape(8, 12, 2)
    else:
        letters = "bgr" if encoding == "8UC3" else encoding.rstrip("8")
        pixels = np.tile(np.array([values[x] for x in letters], np.uint8), (8, 12, 1))
    for padding in (0, 5):
        found = grey_of(image(pixels, encoding, padding))
        assert found.shape == (8, 12)
        assert np.abs(found.astype(int) - grey).max() <= 1  # of rounding


def test_images_that_cannot_be_read() -> None:
    with pytest.raises(SourceError, match="encoding '32FC1'"):
        grey_of(image(np.zeros((4, 4), np.uint8), "32FC1"))
    short = image(np.zeros((4, 4), np.uint8), "mono8")
    short.height = 5
    with pytest.raises(SourceError, match="too few"):
        grey_of(short)


def info(model: str, d: list[float], focal: float = 500.0) -> Any:
    roi = make(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )
    return back(
        make(
            "sensor_msgs/msg/CameraInfo",
            header=header(make, T_NS, "camera"),
            height=480,
            width=640,
            distortion_model=model,
            d=np.array(d, np.float64),
            k=np.array([focal, 0, 320, 0, 501, 240, 0, 0, 1], np.float64),
            r=np.eye(3).ravel(),
            p=np.array([450, 0, 310, 0, 0, 451, 235, 0, 0, 0, 1, 0], np.float64),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )
    )


def test_cameras() -> None:
    camera = camera_of(info("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.3]))
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 501, 320, 240)
    # ROS's order is OpenCV's: k1 k2 p1 p2 k3
    points = np.array([[0.3, -0.2, 1.0]])
    k = camera.matrix
    expected, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), k, np.array([0.1, -0.2, 0.01, 0.02, 0.3])
    )
    np.testing.assert_allclose(camera.pixels_from_rays(points[:, :2]), expected[0], atol=1e-9)
    assert camera_of(info("equidistant", [0.1, 0.2, 0.3, 0.4])).model == "fisheye"
    assert camera_of(info("", [])).model == "pinhole"
    rectified = camera_of(info("plumb_bob", [0.1] * 5), rectified=True)
    assert (rectified.fx, rectified.fy, rectified.cx, rectified.cy) == (450, 451, 310, 235)
    assert rectified.model == "pinhole"
    with pytest.raises(CameraError, match="'thin_prism' is not known"):
        camera_of(info("thin_prism", [0.1]))
    with pytest.raises(CameraError, match="with 3 coefficients; expected 4 or 5"):
        camera_of(info("plumb_bob", [0.1, 0.1, 0.1]))
    with pytest.raises(CameraError, match="the camera is not calibrated"):
        camera_of(info("plumb_bob", [0.0] * 5, focal=0.0))


def test_the_newest_image_of_a_topic_wins() -> None:
    capture = TopicCapture("image", Stamps(OFFSET_NS))
    for grey in (1, 2, 3):
        capture.offer(image(np.full((4, 4), grey, np.uint8), "mono8"))
    shot = capture.read()
    assert shot is not None and shot.image[0, 0] == 3 and shot.lost == 2
    ended: list[object] = []
    reader = threading.Thread(target=lambda: ended.append(capture.read()))
    reader.start()
    capture.close()
    reader.join(30.0)
    assert ended == [None]


def test_the_sink_without_ros() -> None:
    with pytest.raises(ConfigError, match="expected options alone"):
        open_sink("ros2:map")
    with pytest.raises(ConfigError, match="publish_map_to_base_tf: found 'yes'"):
        open_sink("ros2:?publish_map_to_base_tf=yes")
    if importlib.util.find_spec("rclpy") is None:
        with pytest.raises(MissingPackageError, match="needs rclpy, which comes with ROS 2"):
            open_sink("ros2:?publish_map_to_base_tf=true")
