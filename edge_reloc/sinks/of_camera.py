"""Poses with the name of their camera, and of the body that it is mounted on."""

from __future__ import annotations

from dataclasses import replace

from ..arrays import F64
from ..structs import PoseEstimate
from .sink import Sink


class OfCamera:
    """A sink for the poses of one camera.

    name: of a rig's camera, None where there is one alone. body_from_cam (4,4): its mount.
    """

    def __init__(self, sink: Sink, name: str | None, body_from_cam: F64 | None) -> None:
        self._sink, self._name, self._mount = sink, name, body_from_cam

    def write(self, estimate: PoseEstimate) -> None:
        """Pass the estimate on with the camera's name and the pose of the body."""
        body_from_world = None
        if self._mount is not None and estimate.cam_from_world is not None:
            body_from_world = self._mount @ estimate.cam_from_world
        self._sink.write(replace(estimate, camera=self._name, body_from_world=body_from_world))

    def close(self) -> None: ...
