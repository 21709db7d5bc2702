"""What is about to run, in words."""

from __future__ import annotations

from ..errors import one_line
from ..geometry.camera import Camera
from ..inference.acceleration import choose_acceleration
from ..localizer import Localizer
from ..tiles.tiled_localizer import TiledLocalizer


def map_and_camera(localizer: Localizer, camera: Camera, note: str) -> list[str]:
    """A line of each; note: where the camera comes from."""
    name, method = one_line(localizer.bundle.manifest.name), localizer.settings.method
    return [
        f"map        {name}, {_content(localizer)}, method {method}",
        f"camera     {camera.model} {camera.width}x{camera.height}, "
        f"focal length {camera.fx:.1f} px, {note}",
    ]


def gpu_line(localizer: Localizer) -> list[str]:
    """What runs on the GPU; none where nothing does."""
    gpu = localizer.gpu
    if gpu is None:
        return []
    acceleration = choose_acceleration(localizer.bundle, localizer.settings)
    parts = [localizer.engine_name] if acceleration.engine == "tensorrt" else []
    if acceleration.matcher == "cuda":
        parts.append("matching by CUDA")
    memory = "shared with the processor" if gpu.arena.mapped else f"of {gpu.cuda.info.name}"
    return [f"gpu        {' and '.join(parts)}, {gpu.arena.nbytes / 1e6:.1f} MB {memory}"]


def _content(localizer: Localizer) -> str:
    """What a map holds."""
    kind = localizer.bundle.manifest.features.kind
    if isinstance(localizer, TiledLocalizer):
        tiles, here = localizer.tiles, len(localizer.resident)
        points = sum(tile.points for tile in tiles)
        return f"{len(tiles)} tiles, {here} in memory, {points} points, {kind}"
    points_here = localizer.points
    return f"{points_here.n} points, {kind}" if points_here else "held by networks"
