"""What the mapping photos of a city look like as a whole, to find the tile of a frame.

The feature network's own image embedding (`embedding.place`) is the one that all tiles have
in common. Photos of one city resemble each other, so the mean of them is taken away.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..arrays import F32, I32
from ..bundle.array_file import open_array
from ..bundle.layout import PLACES, PLACES_TILE
from ..bundle.reader import hash_file
from ..errors import BundleError
from .index import TiledMap

BEST = 3  # photos of a tile that speak for it
BLOCK = 512  # rows that are looked at together: scratch of 0.5 MB at G = 256


class Places:
    """Ranks tiles by how much a frame looks like their photos.

    place (V,G) float16 of unit length, tile (V,) ascending rows of `tiles` tiles.
    """

    def __init__(self, place: np.ndarray, tile: I32, tiles: int) -> None:
        self._place = place
        self._start = np.searchsorted(tile, np.arange(tiles + 1)).tolist()
        total = np.zeros(place.shape[1], np.float64)
        for start in range(0, len(place), BLOCK):
            total += place[start : start + BLOCK].astype(np.float32).sum(axis=0)
        self._mean: F32 = (total / max(len(place), 1)).astype(np.float32)
        self._similarity = np.zeros(len(place), np.float32)
        self._norm = np.ones(len(place), np.float32)
        for start in range(0, len(place), BLOCK):
            rows = place[start : start + BLOCK].astype(np.float32) - self._mean
            self._norm[start : start + BLOCK] = np.maximum(np.linalg.norm(rows, axis=1), 1e-6)

    def similarity(self, place: F32) -> F32:
        """(T,) cosine of a frame's place vector (G,) with the best photos of each tile.

        -1 for a tile without photos.
        """
        query = place - self._mean
        query /= max(float(np.linalg.norm(query)), 1e-6)
        base = float(self._mean @ query)
        for start in range(0, len(self._place), BLOCK):
            rows = self._place[start : start + BLOCK].astype(np.float32)
            self._similarity[start : start + BLOCK] = rows @ query
        cosine = (self._similarity - base) / self._norm
        out = np.full(len(self._start) - 1, -1.0, np.float32)
        for tile, (start, end) in enumerate(pairwise(self._start)):
            if start < end:
                best = min(BEST, end - start)
                own = np.partition(cosine[start:end], end - start - best)
                out[tile] = own[-best:].mean()
        return out


def open_places(tiled: TiledMap) -> Places | None:
    """Those of a city; None where its feature network has none. Raises BundleError."""
    if PLACES not in tiled.files or PLACES_TILE not in tiled.files:
        return None
    for name in (PLACES, PLACES_TILE):
        path = tiled.directory / name
        if hash_file(path) != tiled.files[name].sha256:
            raise BundleError(f"{path}: its sha256 is another; copy the tiled map again")
    place = _array(tiled, PLACES, "float16", (None, tiled.features.place_dim))
    tile = _array(tiled, PLACES_TILE, "int32", (len(place),))
    known = len(tile) == 0 or (tile[0] >= 0 and tile[-1] < len(tiled.tiles))
    if not known or (np.diff(tile) < 0).any():
        raise BundleError(
            f"{tiled.directory / PLACES_TILE}: names a tile that there is not, or not in order; "
            f"copy the tiled map again"
        )
    if not np.isfinite(place).all():
        raise BundleError(
            f"{tiled.directory / PLACES}: holds numbers that are none; copy the tiled map again"
        )
    return Places(place, tile, len(tiled.tiles))


def _array(tiled: TiledMap, name: str, dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
    path = tiled.directory / name
    try:
        array = open_array(path).array
    except Exception as error:  # numpy's header parser raises unrelated classes
        raise BundleError(f"{path}: not a readable array ({error})") from error
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if str(array.dtype) != dtype or not fits:
        raise BundleError(f"{path}: found {array.dtype} {array.shape}, expected {dtype} {shape}")
    return array
