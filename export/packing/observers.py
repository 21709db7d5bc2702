"""From where the photos of a map saw each of its cells. P points, V photos, K cells."""

from __future__ import annotations

import numpy as np

from edge_reloc.arrays import F32, F64, I32
from edge_reloc.bundle import BundleWriter, MapBundle, layout
from edge_reloc.geometry.rigid import camera_centre

from ..scene.model import SceneModel


def cell_observers(model: SceneModel, cell_start: I32, cell_centre: F32, radius: F32) -> F32:
    """(K,5): middle (3) and radius of the photos that saw a cell, mean distance from them.

    model: with points in the order of the cells; cell_start (K+1,), cell_centre (K,3), radius
    (K,). The middle is that of the box around the photos' places. A cell of which no photo is
    left (K) stays within itself.
    """
    cells = len(cell_centre)
    cell_of = np.repeat(np.arange(cells), np.diff(cell_start))
    places = np.array([camera_centre(view.cam_from_world) for view in model.views])
    seen = [np.unique(cell_of[view.point_id]) for view in model.views]
    photo = np.repeat(np.arange(len(seen)), [len(own) for own in seen])
    cell = np.concatenate(seen)
    low, high = np.full((cells, 3), np.inf), np.full((cells, 3), -np.inf)
    np.minimum.at(low, cell, places[photo])
    np.maximum.at(high, cell, places[photo])
    unseen = ~np.isfinite(low[:, 0])
    low[unseen] = high[unseen] = cell_centre[unseen]
    middle: F64 = (low + high) / 2
    spread = np.zeros(cells)
    np.maximum.at(spread, cell, np.linalg.norm(places[photo] - middle[cell], axis=1))
    away = np.linalg.norm(places[photo] - cell_centre[cell], axis=1)
    distance = np.bincount(cell, away, cells) / np.maximum(np.bincount(cell, minlength=cells), 1)
    return np.column_stack([middle, spread, distance + radius]).astype(np.float32)


def add_observers(writer: BundleWriter, bundle: MapBundle, model: SceneModel) -> None:
    """Tell a bundle of before 1.5; model: with points in the bundle's order."""
    cells = (layout.CELL_START, layout.CELL_CENTRE, layout.CELL_RADIUS)
    observers = cell_observers(model, *(bundle.array(name) for name in cells))
    unit = bundle.manifest.files[layout.CELL_RADIUS].unit
    writer.add_array(layout.CELL_OBSERVERS, observers, unit)
