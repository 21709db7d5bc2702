"""A map of tiles in words and numbers, JSON-ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..bundle.mapping_cameras import mapping_cameras
from ..errors import CameraError, one_line
from ..methods import Settings
from ..running.budget import MIB, Footprint, plan_footprint
from ..tiles.tiled_bundle import TiledBundle


def describe_city(bundle: TiledBundle) -> dict[str, Any]:
    """The index, and what its tiles have in common."""
    tiled, manifest = bundle.tiled, bundle.manifest
    return {
        "name": tiled.name,
        "directory": str(tiled.directory),
        "world": asdict(tiled.world),
        "features": asdict(tiled.features),
        "method": manifest.method,
        "methods": sorted(manifest.methods),
        "cameras": manifest.cameras,
        "nbytes": tiled.nbytes,
        "tiles": [asdict(tile) for tile in tiled.tiles],
    }


def city_text(values: dict[str, Any], world: str) -> list[str]:
    """The same as lines for people; world: its unit and place in words."""
    features, tiles = values["features"], values["tiles"]
    unit = "m" if values["world"]["metric"] else "units"
    width = max(len(tile["name"]) for tile in tiles)
    lines = [
        f"map        {values['name']}, {len(tiles)} tiles",
        f"world      {world}",
        f"features   {features['kind']}, {features['dim']} numbers each, up to "
        f"{features['keypoints']} a frame, the same in all tiles",
        f"methods    {values['method']} (default)"
        + "".join(f", {name}" for name in values["methods"] if name != values["method"]),
        f"files      {values['nbytes'] / 1e6:.2f} MB",
        f"  {'tile':<{width}}   points  photos       MB  photos were taken within, {unit}",
    ]
    for tile in tiles:
        low, high = tile["cameras_low"], tile["cameras_high"]
        within = ", ".join(f"{a:.1f} to {b:.1f}" for a, b in zip(low, high, strict=True))
        lines.append(
            f"  {tile['name']:<{width}} {tile['points']:8d} {tile['photos']:7d} "
            f"{tile['nbytes'] / 1e6:8.2f}  {within}"
        )
    return [one_line(line) for line in lines]


def city_memory(bundle: TiledBundle) -> Footprint:
    """What frames of its largest mapping camera take. Raises CameraError without one."""
    cameras = mapping_cameras(bundle)
    if not cameras:
        raise CameraError(f"{bundle.directory}: no mapping camera, so memory cannot be planned")
    largest = max(cameras.values(), key=lambda camera: camera.width * camera.height)
    return plan_footprint(bundle, largest, Settings())


def memory_lines(plan: Footprint) -> list[str]:
    """Its plan row by row, the buffers of the front together."""
    rows = [(f"{r.kind}: {r.name}", r.nbytes) for r in plan.rows if r.kind in SHOWN]
    rest = sum(r.nbytes for r in plan.rows if r.kind not in SHOWN)
    rows += [("buffers of the front", rest), ("in all", plan.nbytes)]
    return [f"{name:<36} {nbytes / MIB:8.2f} MiB" for name, nbytes in rows]


SHOWN = ("tiles", "weights", "activations", "large files", "map", "borrowed")
