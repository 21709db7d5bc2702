"""The cameras that a map was made with."""

from __future__ import annotations

from ..errors import CameraError
from ..geometry.camera import Camera
from .reader import MapBundle


def mapping_cameras(bundle: MapBundle) -> dict[str, Camera]:
    """By name. Raises CameraError."""
    where = bundle.directory / "manifest.json"
    return {
        name: Camera.from_dict(values, f"{where}: cameras['{name}']")
        for name, values in bundle.manifest.cameras.items()
    }


def only_camera(bundle: MapBundle) -> tuple[Camera, str]:
    """The mapping camera and its name, where there is one; CameraError where there is not."""
    cameras = {camera: name for name, camera in mapping_cameras(bundle).items()}
    if len(cameras) != 1:
        found = ", ".join(sorted(cameras.values())[:5]) or "none"
        raise CameraError(
            f"{bundle.directory}: the map was made with {len(cameras)} cameras ({found}), "
            f"so yours cannot be taken from it; give --calibration camera.json "
            f"(made by 'edge-reloc calibrate')"
        )
    return next(iter(cameras.items()))
