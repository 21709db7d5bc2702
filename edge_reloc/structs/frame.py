"""One camera image, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..arrays import F64, U8
from ..geometry.camera import Camera
from ..geometry.rigid import direction, motion
from ..reasons import Fault


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Frame:
    """One camera image."""

    #: (H,W) grey or (H,W,3) BGR
    image: U8
    #: capture time, monotonic nanoseconds: the middle of the exposure, as well as it is known
    t_ns: int
    #: that took it; None: the camera that the localiser was opened for
    camera: Camera | None = None
    #: position in its sequence
    index: int = 0
    #: of its file, where it has one
    name: str = ""
    #: counter-clockwise, that bring the image to the map's heading, when a compass or the
    #: flight plan tells; None lets the localiser find out where the map calls for it
    quarter_turns: int | None = None
    #: counter-clockwise, that show the image upright, as its file says (EXIF, a video's
    #: rotation flag); where `quarter_turns` is None they are tried first
    upright_turns: int = 0
    #: when it was handed to us, monotonic nanoseconds; None for photos and videos
    received_ns: int | None = None
    #: what its pixels alone show to be wrong: dark, overexposed, frozen
    fault: Fault | None = None
    #: (3,) that points down in the camera's axes (x right, y down, z ahead), as an IMU knows it
    #: of a camera at rest; a pose that contradicts it is refused
    down: F64 | None = None
    #: (4,4) camera points to points of a frame that may drift, map units, as an autopilot or an
    #: odometry knows it: with a supervisor it tells where the next frame is looked for
    odom_from_cam: F64 | None = None

    @property
    def vertical(self) -> F64 | None:
        """`down` (3,) of unit length; None where it is unknown, or its sensor tells nonsense."""
        return None if self.down is None else direction(self.down)

    @property
    def odometry(self) -> F64 | None:
        """`odom_from_cam` (4,4); None where it is unknown, or its sensor tells nonsense.

        Autopilots say nan where they have lost themselves.
        """
        return None if self.odom_from_cam is None else motion(self.odom_from_cam)
