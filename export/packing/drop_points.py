"""Points that leave a bundle, wherever it speaks of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle import BundleWriter, MapBundle, layout
from edge_reloc.methods import METHODS


def drop_points(writer: BundleWriter, bundle: MapBundle, keep: NDArray[np.bool_]) -> None:
    """Leave out the points where `keep` (P,) is false, wherever a bundle speaks of them."""
    before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int32)  # kept points before each
    files = bundle.manifest.files
    of_points = (layout.XYZ, layout.DESCRIPTORS, layout.DIRECTION, layout.SIGMA)
    for name in filter(bundle.has, of_points):
        writer.add_array(name, bundle.array(name)[keep], files[name].unit)
    writer.add_array(layout.CELL_START, before[bundle.array(layout.CELL_START)])
    for start_file, id_file in layout.POINT_LISTS:
        if bundle.has(start_file):
            start, ids = bundle.array(start_file), bundle.array(id_file)
            stays = keep[ids]
            kept_before = np.concatenate([[0], np.cumsum(stays)]).astype(np.int32)
            writer.add_array(start_file, kept_before[start])
            writer.add_array(id_file, before[ids[stays]])
    share = float(keep.mean())
    for method in METHODS.values():
        method.scale_candidates(writer.manifest, share)
    writer.manifest.statistics |= {"points": int(keep.sum()), "points_before_pruning": len(keep)}
    writer.manifest.parity = {}
