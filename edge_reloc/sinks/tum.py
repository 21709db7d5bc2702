"""TUM trajectories: `t_s x y z qx qy qz qw`, the camera in the world.

Format: "File Formats" of the TUM RGB-D benchmark (Sturm et al., IROS 2012).
Only frames with status OK have a line: the format cannot say which others to doubt.
"""

from __future__ import annotations

from pathlib import Path

from ..geometry.rigid import invert, quat_from_rotation
from ..structs import PoseEstimate, Status
from .lines import LineFile


class TumSink:
    """Writes the localised frames; time in seconds with nine decimals."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(self, estimate: PoseEstimate) -> None:
        if estimate.status is not Status.OK or estimate.cam_from_world is None:
            return
        world_from_cam = invert(estimate.cam_from_world)
        x, y, z = world_from_cam[:3, 3]
        qw, qx, qy, qz = quat_from_rotation(world_from_cam[:3, :3])
        # Nanoseconds do not survive a float of seconds: split them as integers.
        seconds, nanoseconds = divmod(estimate.t_ns, 1_000_000_000)
        self._file.write(
            f"{seconds}.{nanoseconds:09d} {x:.6f} {y:.6f} {z:.6f} "
            f"{qx:.9f} {qy:.9f} {qz:.9f} {qw:.9f}"
        )

    def close(self) -> None:
        self._file.close()
