"""A COLMAP model as text: a folder that COLMAP, pycolmap and their like open."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError, SinkError
from ..files import write_atomic
from ..geometry.rigid import quat_from_rotation
from ..reference.colmap import colmap_from_camera
from ..structs import PoseEstimate, Status
from .facts import RunFacts
from .lines import LineFile

CAMERA_ID = 1


class ColmapSink:
    """Writes the localised frames into `images.txt`, without keypoints; the camera once.

    The number of an image is that of its frame and one; frames without a name have it for one.
    Points are none: those of the map have numbers that mean nothing to COLMAP.
    """

    def __init__(self, rest: str, facts: RunFacts) -> None:
        if not rest or facts.camera is None:
            raise ConfigError(
                f"colmap:{rest}: expected a folder, and facts of a run with one camera"
            )
        folder = Path(rest)
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise SinkError(
                f"{folder}: there is no folder {folder.parent}; make it first"
            ) from None
        except OSError as error:
            raise SinkError(f"{folder}: cannot be made ({error.strerror})") from error
        model, params = colmap_from_camera(facts.camera)
        size = f"{facts.camera.width} {facts.camera.height}"
        self._file = LineFile(folder / "images.txt")
        numbers = " ".join(repr(float(value)) for value in params)
        write_atomic(folder / "cameras.txt", f"{CAMERA_ID} {model} {size} {numbers}\n")
        write_atomic(folder / "points3D.txt", "")

    def write(self, estimate: PoseEstimate) -> None:
        cam_from_world = estimate.cam_from_world
        if estimate.status is not Status.OK or cam_from_world is None or estimate.propagated:
            return
        quat = quat_from_rotation(cam_from_world[:3, :3])
        numbers = " ".join(repr(float(value)) for value in [*quat, *cam_from_world[:3, 3]])
        number = estimate.index + 1
        name = estimate.name or f"{number:06d}"
        self._file.write(f"{number} {numbers} {CAMERA_ID} {name}\n")  # and a line of no keypoints

    def close(self) -> None:
        self._file.close()
