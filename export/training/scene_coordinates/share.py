"""Which share of the cells to keep: tried on photos that the network has not seen."""

from __future__ import annotations

import numpy as np

from edge_reloc.arrays import Bool
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.structs import Correspondences

from ...nets.scene_coordinates import SceneCoordinates
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel
from .photo_cells import PhotoCells
from .predictions import predict_photos
from .samples import observed_depths

SHARES = (1.0, 0.75, 0.49, 0.35, 0.25, 0.15)
PHOTOS = 40  # held-out photos that are tried, evenly spread
FAR_SHARE = 0.1  # of the distance to what a photo sees: a pose further off is worth nothing


def choose_share(
    network: SceneCoordinates,
    cells: PhotoCells,
    model: SceneModel,
    store: PhotoStore,
    held_out: Bool,
    solver: PoseSolver,
) -> tuple[float, dict[str, float]]:
    """The share with the smallest mean error over held-out photos (V,), and the mean of each.

    An error is the camera's distance from its place over that to what it sees, at most
    FAR_SHARE, so that photos without a pose count and do not outweigh all others.
    """
    views = np.flatnonzero(held_out)
    views = views[np.unique(np.linspace(0, len(views) - 1, PHOTOS).astype(int))]
    errors: dict[float, list[float]] = {share: [] for share in SHARES}
    for photo in predict_photos(network, cells, model, store, views):
        view = photo.view
        depth = observed_depths(model, view)
        distance = float(np.median(depth)) if len(depth) else 1.0
        best_first = np.argsort(-photo.score)
        for share in SHARES:
            rows = best_first[: round(share * len(best_first))]
            matches = Correspondences(Arena(), len(rows))
            matches.n = len(rows)
            matches.xy_px[:], matches.xyz_world[:] = photo.xy_px[rows], photo.xyz_world[rows]
            matches.weight[:] = photo.score[rows]
            found = solver.solve(view.camera, matches).cam_from_world
            off = np.inf if found is None else pose_error(found, view.cam_from_world)[0]
            errors[share].append(min(off / distance, FAR_SHARE))
    mean = {share: float(np.mean(values)) for share, values in errors.items()}
    return min(mean, key=lambda s: mean[s]), {f"{s:g}": m for s, m in mean.items()}
