"""A tile cut out of a finished map: some of its photos, and the points that they saw.

Networks stay as they are: a head that names cells names those of the whole map, of which some
are empty here. So a tile takes fewer points to match and no fewer weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.bundle.layout import VIEW_EMBEDDING, VIEW_POINT_ID, VIEW_START, XYZ
from edge_reloc.errors import BundleError

from ..packing.drop_points import drop_points
from .write import photo_positions

Position = tuple[float, float, float]


def photos_within(bundle: MapBundle, low: Position, high: Position) -> NDArray[np.bool_]:
    """(V,) whether each mapping photo was taken between two corners (3,), world units."""
    at = photo_positions(bundle)
    return np.asarray(((at >= np.array(low)) & (at <= np.array(high))).all(axis=1))


def cut_bundle(source: Path, output: Path, photos: NDArray[np.bool_]) -> None:
    """Write a bundle of the photos (V,) of another, and of what they saw.

    Raises BundleError when that is nothing, DiskError.
    """
    bundle = open_bundle(source)
    start, ids = bundle.array(VIEW_START), bundle.array(VIEW_POINT_ID)
    of_photo = np.repeat(np.arange(len(start) - 1), np.diff(start))
    keep = np.zeros(len(bundle.array(XYZ)), bool)
    keep[ids[photos[of_photo]]] = True
    if not keep.any():
        raise BundleError(f"{source}: the photos to be cut out saw no point of it")
    methods = dict(bundle.manifest.methods)
    with extend_bundle(source, output) as writer:
        drop_points(writer, bundle, keep)
        writer.manifest.methods = methods  # as many candidates as before: they lie closer now
        renumbered = (np.cumsum(keep) - 1).astype(np.int32)
        stays = photos[of_photo] & keep[ids]
        counts = np.bincount(of_photo[stays], minlength=len(photos))[photos]
        writer.add_array(VIEW_START, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        writer.add_array(VIEW_POINT_ID, renumbered[ids[stays]])
        if bundle.has(VIEW_EMBEDDING):
            writer.add_array(VIEW_EMBEDDING, bundle.array(VIEW_EMBEDDING)[photos])
        writer.manifest.statistics["photos"] = int(photos.sum())
        writer.manifest.statistics.pop("points_before_pruning", None)
