"""What a run has to say, as messages: for files and viewers that speak Foxglove's schemas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2

from ..arrays import F64
from ..geometry.frames import level_from_world, place
from ..geometry.geodesy import geodetic_from_enu
from ..geometry.rigid import compose, invert
from ..memory.process import resident_bytes
from ..messages.channel import Channel
from ..messages.estimate import ESTIMATE, PROCESS, estimate_message, process_message
from ..messages.foxglove import (
    ANNOTATIONS,
    BODY_FRAME,
    CALIBRATION,
    CAMERA_FRAME,
    FIXED_TRANSFORM,
    IMAGE,
    INFO,
    LEVEL_FRAME,
    LOCATION,
    LOG,
    MAP_FRAME,
    PATH,
    POINTS,
    POSE,
    TRANSFORM,
    WARNING,
    annotations_message,
    calibration_message,
    image_message,
    location_message,
    log_message,
    path_message,
    points_message,
    pose_message,
    transform_message,
)
from ..structs import PoseEstimate
from .facts import RunFacts
from .look import Look
from .news import Newsreel

CHANNELS = (
    ESTIMATE,
    LOG,
    PROCESS,
    POSE,
    TRANSFORM,
    FIXED_TRANSFORM,
    PATH,
    LOCATION,
    POINTS,
    CALIBRATION,
    IMAGE,
    ANNOTATIONS,
)
#: whose messages come with looks
LOOK_CHANNELS = (IMAGE, ANNOTATIONS)
SECOND_NS = 1_000_000_000
PATH_NS = SECOND_NS // 4
PATH_PLACES = 100  # of one piece: the last piece is sent again and again
GREY, GREEN = (0.75, 0.75, 0.75, 0.6), (0.1, 0.9, 0.3, 1.0)
KEYPOINT_PX, INLIER_PX = 3.0, 5.0


class Message(NamedTuple):
    """Content for a channel, with its times."""

    channel: Channel
    content: dict[str, Any]
    #: when it was true: capture time
    t_ns: int
    #: when it was known
    received_ns: int
    #: whether it holds for the whole run
    once: bool = False


class RunMessages:
    """Messages of one camera's run, in order.

    quality: of JPEG images, 1 to 100.
    """

    def __init__(self, facts: RunFacts, quality: int) -> None:
        self._facts, self._quality = facts, quality
        self._began = False
        self._newsreel = Newsreel()
        self._process_ns = -SECOND_NS
        self._path = _Path()

    def of_estimate(self, estimate: PoseEstimate) -> Iterator[Message]:
        """Before the first one, what is told once."""
        if not self._began:
            self._began = True
            yield from self._once(estimate.t_ns)
        for channel, content in self._of_estimate(estimate):
            yield _message(channel, content, estimate)

    def of_look(self, look: Look) -> Iterator[Message]:
        """The image as JPEG, with keypoints and inliers in it."""
        t_ns = look.estimate.t_ns
        _, jpeg = cv2.imencode(".jpg", look.image, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        groups = (look.xy_px, GREY, KEYPOINT_PX), (look.inlier_xy_px, GREEN, INLIER_PX)
        for channel, content in (
            (IMAGE, image_message(t_ns, "jpeg", jpeg.tobytes())),
            (ANNOTATIONS, annotations_message(t_ns, groups)),
        ):
            yield _message(channel, content, look.estimate)

    def _once(self, t_ns: int) -> Iterator[Message]:
        facts, camera = self._facts, self._facts.camera
        messages = [(POINTS, points_message(t_ns, facts.xyz))] if len(facts.xyz) else []
        if camera is not None:
            messages.append((CALIBRATION, calibration_message(camera, t_ns)))
        for parent, child, parent_from_child in self._fixed_frames():
            told = transform_message(t_ns, parent, child, parent_from_child)
            messages.append((FIXED_TRANSFORM, told))
        for channel, content in messages:
            yield Message(channel, content, t_ns, t_ns, once=True)

    def _fixed_frames(self) -> Iterator[tuple[str, str, F64]]:
        gravity, mount = self._facts.world.gravity, self._mount
        if gravity is not None:
            yield LEVEL_FRAME, MAP_FRAME, compose(level_from_world(gravity), (0.0, 0.0, 0.0))
        if mount is not None:
            yield BODY_FRAME, CAMERA_FRAME, mount

    @property
    def _mount(self) -> F64 | None:
        return None if self._facts.camera is None else self._facts.camera.mount

    def _of_estimate(self, estimate: PoseEstimate) -> Iterator[tuple[Channel, dict[str, Any]]]:
        t_ns = estimate.t_ns
        yield ESTIMATE, estimate_message(estimate)
        if (news := self._newsreel.of(estimate)) is not None:
            yield LOG, log_message(t_ns, INFO if news.good else WARNING, news.text)
        if t_ns - self._process_ns >= SECOND_NS and (rss_bytes := resident_bytes()) is not None:
            self._process_ns = t_ns
            yield PROCESS, process_message(rss_bytes)
        cam_from_world, pose = estimate.cam_from_world, pose_message(estimate)
        if cam_from_world is None or pose is None:
            self._path.end()
            return
        yield POSE, pose
        mount = self._mount
        frame = CAMERA_FRAME if mount is None else BODY_FRAME
        world_from_frame = invert(cam_from_world if mount is None else mount @ cam_from_world)
        yield TRANSFORM, transform_message(t_ns, MAP_FRAME, frame, world_from_frame)
        piece = self._path.add(estimate, invert(cam_from_world)[:3, 3])
        if piece is not None:
            yield PATH, path_message(t_ns, *piece)
        if (location := self._location(estimate, frame)) is not None:
            yield LOCATION, location

    def _location(self, estimate: PoseEstimate, frame: str) -> dict[str, Any] | None:
        georeference, covariance = self._facts.world.georeference, estimate.covariance
        if georeference is None or estimate.cam_from_world is None or covariance is None:
            return None
        placed = place(estimate.cam_from_world, covariance, self._mount)
        where = geodetic_from_enu(placed.xyz, georeference)
        return location_message(estimate.t_ns, frame, where, placed.covariance[:3, :3])


def _message(channel: Channel, content: dict[str, Any], estimate: PoseEstimate) -> Message:
    """With the times of an estimate."""
    received_ns = estimate.t_ns if estimate.received_ns is None else estimate.received_ns
    return Message(channel, content, estimate.t_ns, received_ns)


class _Path:
    """The way of the camera, in pieces of bounded length."""

    def __init__(self) -> None:
        self._number, self._places = 0, list[F64]()
        self._sent_ns, self._jumps = -PATH_NS, 0

    def add(self, estimate: PoseEstimate, xyz: F64) -> tuple[str, list[F64]] | None:
        """A place (3,); the last piece with its name, where it is time to send it."""
        if estimate.reset_counter != self._jumps:
            self.end()
        self._jumps = estimate.reset_counter
        self._places.append(xyz)
        full = len(self._places) >= PATH_PLACES
        if not full and 0 <= estimate.t_ns - self._sent_ns < PATH_NS:
            return None
        self._sent_ns = estimate.t_ns
        piece = f"path {self._number}", self._places
        if full:
            self._number, self._places = self._number + 1, [xyz]
        return piece

    def end(self) -> None:
        """Whatever comes next is not joined to this."""
        if self._places:
            self._number, self._places = self._number + 1, []
