"""The cameras that a map was made with."""

from __future__ import annotations

from ..errors import CameraError
from ..geometry.camera import Camera
from .reader import MapBundle

FOCAL_TOLERANCE = 0.03  # relative: what calibrations of one camera differ by, and then some


def mapping_cameras(bundle: MapBundle) -> dict[str, Camera]:
    """By name. Raises CameraError."""
    where = bundle.directory / "manifest.json"
    return {
        name: Camera.from_dict(values, f"{where}: cameras['{name}']")
        for name, values in bundle.manifest.cameras.items()
    }


def named_camera(bundle: MapBundle, name: str) -> Camera:
    """The mapping camera of a name; CameraError says which there are."""
    cameras = mapping_cameras(bundle)
    if name not in cameras:
        raise CameraError(
            f"{bundle.directory}: no mapping camera '{name}'; expected one of "
            f"{', '.join(cameras) or 'none'}"
        )
    return cameras[name]


def only_camera(bundle: MapBundle) -> tuple[Camera, str]:
    """The mapping camera and its name, where there is one; CameraError where there is not."""
    cameras = _different(bundle)
    if len(cameras) != 1:
        raise CameraError(_several(bundle, cameras))
    return next(iter(cameras.items()))


def fitting_camera(bundle: MapBundle, width: int, height: int) -> tuple[Camera, str]:
    """The mapping camera for frames of a size, and its name.

    The only one that there is, or the only one of exactly this size; CameraError where that
    leaves none or a choice.
    """
    cameras = _different(bundle)
    if len(cameras) == 1:
        return next(iter(cameras.items()))
    exact = {c: n for c, n in cameras.items() if (c.width, c.height) == (width, height)}
    if len(exact) != 1:
        raise CameraError(
            f"{_several(bundle, cameras)}; {len(exact)} of them are of the frames' {width}x{height}"
        )
    return next(iter(exact.items()))


def unlike_mapping(bundle: MapBundle, camera: Camera) -> str | None:
    """A word where a calibration and all mapping cameras of its size differ in focal length.

    A map whose own focal length was wrong gives wrong distances with the right calibration,
    and the other way round; that the camera is another one is the only good reason.
    """
    same = {
        c: name
        for c, name in _different(bundle).items()
        if (c.width, c.height) == (camera.width, camera.height)
    }
    if not same:
        return None
    nearest = min(same, key=lambda c: abs(c.fx / camera.fx - 1))
    differs = abs(nearest.fx / camera.fx - 1)
    if differs <= FOCAL_TOLERANCE:
        return None
    return (
        f"the calibration's focal length of {camera.fx:.0f} px and the map's {nearest.fx:.0f} px "
        f"('{same[nearest]}', of the same size) differ by {differs:.0%}: unless another camera "
        f"took the mapping photos, one of them is wrong, and so will distances be"
    )


def _different(bundle: MapBundle) -> dict[Camera, str]:
    return {camera: name for name, camera in mapping_cameras(bundle).items()}


def _several(bundle: MapBundle, cameras: dict[Camera, str]) -> str:
    shown = [f"{n} {c.width}x{c.height} {c.fx:.0f} px" for c, n in list(cameras.items())[:5]]
    return (
        f"{bundle.directory}: the map was made with {len(cameras)} cameras "
        f"({', '.join(shown) or 'none'}), so yours must be named: --calibration camera.json, made "
        f"by 'edge-reloc calibrate' or by 'edge-reloc inspect MAP --camera NAME'"
    )
