"""What one form of the networks makes of a sequence of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle import MapBundle
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import Array
from edge_reloc.inference.engines import Engines
from edge_reloc.localizer import Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.settings import Settings
from edge_reloc.structs import Frame, Status

OpenEngines = Callable[[MapBundle, Arena, Settings], Engines]


@dataclass(frozen=True, kw_only=True)
class FrameResult:
    """One frame. xy_px (n,2), descriptor (n,D), point_id (c,) sorted candidates.

    cam_from_world (4,4) or None; depth: median distance of the inlier points along
    the optical axis, map units (nan without a pose).
    """

    name: str
    status: Status
    cam_from_world: Array | None
    inliers: int
    depth: float
    xy_px: NDArray[np.float32]
    descriptor: NDArray[np.float16]
    point_id: NDArray[np.int32]


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
        if frame.camera not in localizers:
            localizers[frame.camera] = (
                Localizer(bundle, frame.camera, settings, engines)
                if engines
                else Localizer.open(bundle, frame.camera, settings)
            )
        localizer = localizers[frame.camera]
        estimate = localizer.localize(frame)
        features, candidates = localizer.features, localizer.candidates
        depth = float("nan")
        if estimate.cam_from_world is not None and estimate.inlier_index is not None:
            xyz = localizer.correspondences.xyz_world[estimate.inlier_index]
            rotation, translation = np.split(estimate.cam_from_world[2, :], [3])
            depth = float(np.median(xyz @ rotation + translation))
        results.append(
            FrameResult(
                name=frame.name,
                status=estimate.status,
                cam_from_world=estimate.cam_from_world,
                inliers=estimate.inliers,
                depth=depth,
                xy_px=features.xy_px[: features.n].copy(),
                descriptor=features.descriptor[: features.n].astype(np.float16),
                point_id=np.sort(candidates.point_id[: candidates.n]),
            )
        )
        progress(done + 1)
    for localizer in localizers.values():
        localizer.close()
    return results
