"""What one form of the networks makes of a sequence of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F32, I32, Array
from edge_reloc.bundle import MapBundle
from edge_reloc.errors import CameraError
from edge_reloc.geometry.camera import Camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import OpenEngines
from edge_reloc.structs import Frame, Localization, Status


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """What one frame came to."""

    name: str
    status: Status
    #: (4,4) or None
    cam_from_world: Array | None
    inliers: int
    #: median distance of the inlier points along the optical axis, map units; nan without a pose
    depth: float
    #: (n,2)
    xy_px: F32
    #: (n,D), or where in the world a network puts each keypoint (n,3)
    descriptor: NDArray[np.float16]
    #: (c,) of the candidates, sorted
    point_id: I32


def localise(
    bundle: MapBundle,
    frames: Iterable[Frame],
    settings: Settings,
    engines: OpenEngines | None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[FrameResult]:
    """Every frame through the runtime; `engines` says how networks are run."""
    localizers: dict[Camera, Localizer] = {}
    results = []
    for done, frame in enumerate(frames):
        camera = frame.camera
        if camera is None:
            raise CameraError(f"{frame.name}: no camera is known for this frame")
        if camera not in localizers:
            localizers[camera] = Localizer.open(bundle, camera, settings, engines=engines)
        results.append(_result(frame.name, localizers[camera].localize(frame)))
        progress(done + 1)
    for localizer in localizers.values():
        localizer.close()
    return results


def _result(name: str, found: Localization) -> FrameResult:
    """A copy of what is compared."""
    estimate, features = found.estimate, found.features
    depth = float("nan")
    if estimate.cam_from_world is not None and estimate.inlier_index is not None:
        xyz = found.matches.xyz_world[estimate.inlier_index]
        rotation, translation = np.split(estimate.cam_from_world[2, :], [3])
        depth = float(np.median(xyz @ rotation + translation))
    said = features.descriptor if features.descriptor.shape[1] else features.xyz_world
    return FrameResult(
        name=name,
        status=estimate.status,
        cam_from_world=estimate.cam_from_world,
        inliers=estimate.inliers,
        depth=depth,
        xy_px=features.xy_px.copy(),
        descriptor=said.astype(np.float16),
        point_id=np.sort(found.candidates.point_id),
    )
