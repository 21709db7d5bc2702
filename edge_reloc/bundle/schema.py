"""What every array of a bundle must be, so that nothing later can fail for it.

One table: dtypes, axes, and what the numbers mean. Axes go by name: their lengths come from
the manifest, which says the shape of every array, so that arrays are checked against each
other without reading the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..embedding.spec import VLAD_AND_PLACE
from ..errors import BundleError
from . import layout
from .manifest import Manifest

LARGEST = 1e9  # of any number: float32 still holds its cube
CHUNK = 1 << 18  # numbers that are looked at at once

#: what is wrong with the numbers of an array, None: nothing
Check = Callable[[NDArray[Any], "Axes"], "str | None"]


class Axes:
    """Lengths by name, as a manifest has them: P points, K cells, V photos, L landmarks …"""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def length(self, name: str) -> int:
        """Of an axis. Raises BundleError where the manifest does not tell."""
        return _AXES[name](self)

    def rows(self, file: str) -> int:
        """Of a listed array."""
        entry = self._manifest.files.get(file)
        if entry is None or not entry.shape:
            raise BundleError(f"'{file}' is needed beside it, and is not in the bundle")
        return entry.shape[0]

    @property
    def descriptor(self) -> int:
        """D."""
        return self._manifest.features.dim

    @property
    def place(self) -> int:
        """G."""
        return self._manifest.features.place_dim

    @property
    def embedding(self) -> int:
        """E."""
        if self._manifest.embedding is None:
            raise BundleError("the manifest names no image embedding")
        return self._manifest.embedding.dim

    @property
    def projected(self) -> int:
        """Of E, what comes from local descriptors."""
        spec = self._manifest.embedding
        with_place = spec is not None and spec.kind == VLAD_AND_PLACE
        return self.embedding - (self.place if with_place else 0)

    @property
    def cameras(self) -> int:
        """Mapping cameras."""
        return len(self._manifest.cameras)


_AXES: dict[str, Callable[[Axes], int]] = {
    "P": lambda axes: axes.rows(layout.XYZ),
    "D": lambda axes: axes.descriptor,
    "K": lambda axes: axes.rows(layout.CELL_CENTRE),
    "K+1": lambda axes: axes.rows(layout.CELL_CENTRE) + 1,
    "W": lambda axes: axes.rows(layout.VLAD_CENTROIDS),
    "W*D": lambda axes: axes.rows(layout.VLAD_CENTROIDS) * axes.descriptor,
    "G": lambda axes: axes.place,
    "E": lambda axes: axes.embedding,
    "E-G": lambda axes: axes.projected,
    "V": lambda axes: axes.rows(layout.VIEW_START) - 1,
    "V+1": lambda axes: axes.rows(layout.VIEW_START),
    "L": lambda axes: axes.rows(layout.LANDMARK_START) - 1,
    "L+1": lambda axes: axes.rows(layout.LANDMARK_START),
    "of views": lambda axes: axes.rows(layout.VIEW_POINT_ID),
    "of landmarks": lambda axes: axes.rows(layout.LANDMARK_POINT_ID),
}


def _within(low: float, high: float) -> Check:
    """Finite and between two numbers, both allowed."""

    def check(array: NDArray[Any], axes: Axes) -> str | None:
        flat = array.reshape(-1)
        for first in range(0, len(flat), CHUNK):
            chunk = flat[first : first + CHUNK]
            least, most = float(chunk.min()), float(chunk.max())
            if not (least >= low and most <= high):  # NaN is neither
                return f"holds {least:.6g} to {most:.6g}, expected {low:.6g} to {high:.6g}"
        return None

    return check


def _finite(array: NDArray[Any], axes: Axes) -> str | None:
    """Of float16, of which `isfinite` is quicker than the least and largest."""
    flat = array.reshape(-1)
    for first in range(0, len(flat), CHUNK):
        if not np.isfinite(flat[first : first + CHUNK]).all():
            return "holds numbers that are not finite"
    return None


def _anything(array: NDArray[Any], axes: Axes) -> str | None:
    """Of integers of which every value means something."""
    return None


def _below(length: Callable[[Axes], int]) -> Check:
    """Numbers of rows of something: 0 up to its length."""

    def check(array: NDArray[Any], axes: Axes) -> str | None:
        least, most, end = int(array.min()), int(array.max()), length(axes)
        if least < 0 or most >= end:
            return f"names {least} to {most}, expected 0 to {end - 1}"
        return None

    return check


def _starts(of: str) -> Check:
    """Where lists begin in one after the other of them, and where the last ends."""

    def check(array: NDArray[Any], axes: Axes) -> str | None:
        if array[0] != 0 or (array[1:] < array[:-1]).any():
            return "does not rise from 0"
        end = axes.length(of)
        return f"ends at {array[-1]}, expected {end}" if array[-1] != end else None

    return check


_ANY_FINITE = _within(-LARGEST, LARGEST)
_POINT_ID = _below(lambda axes: axes.length("P"))


@dataclass(frozen=True, kw_only=True)
class ArraySchema:
    """One array: what its header must say, and what its numbers must be."""

    dtypes: tuple[str, ...]
    #: names of `Axes`, or fixed lengths
    shape: tuple[str | int, ...]
    check: Check = _ANY_FINITE


_F32, _I32, _FLOATS = ("float32",), ("int32",), ("float16", "float32")

SCHEMA: dict[str, ArraySchema] = {
    layout.XYZ: ArraySchema(dtypes=_F32, shape=("P", 3)),
    layout.DESCRIPTORS: ArraySchema(dtypes=("float16", "int8"), shape=("P", "D"), check=_finite),
    layout.DIRECTION: ArraySchema(dtypes=("int8",), shape=("P", 3), check=_anything),
    layout.SIGMA: ArraySchema(dtypes=("float16",), shape=("P", 2), check=_within(0, LARGEST)),
    layout.CELL_START: ArraySchema(dtypes=_I32, shape=("K+1",), check=_starts("P")),
    layout.CELL_CENTRE: ArraySchema(dtypes=_F32, shape=("K", 3)),
    layout.CELL_RADIUS: ArraySchema(dtypes=_F32, shape=("K",), check=_within(0, LARGEST)),
    layout.CELL_OBSERVERS: ArraySchema(dtypes=_F32, shape=("K", 5)),
    layout.VLAD_CENTROIDS: ArraySchema(dtypes=_F32, shape=("W", "D")),
    layout.VLAD_MEAN: ArraySchema(dtypes=_F32, shape=("W*D",)),
    layout.VLAD_PROJECTION: ArraySchema(dtypes=_FLOATS, shape=("E-G", "W*D"), check=_finite),
    layout.PLACE_MEAN: ArraySchema(dtypes=_F32, shape=("G",)),
    layout.VIEW_EMBEDDING: ArraySchema(dtypes=_FLOATS, shape=("V", "E"), check=_finite),
    layout.VIEW_START: ArraySchema(dtypes=_I32, shape=("V+1",), check=_starts("of views")),
    layout.VIEW_POINT_ID: ArraySchema(dtypes=_I32, shape=("of views",), check=_POINT_ID),
    layout.LANDMARK_START: ArraySchema(dtypes=_I32, shape=("L+1",), check=_starts("of landmarks")),
    layout.LANDMARK_POINT_ID: ArraySchema(dtypes=_I32, shape=("of landmarks",), check=_POINT_ID),
    layout.LANDMARK_CAM_FROM_WORLD: ArraySchema(dtypes=("float64",), shape=("L", 4, 4)),
    layout.LANDMARK_CAMERA: ArraySchema(
        dtypes=_I32, shape=("L",), check=_below(lambda axes: axes.cameras)
    ),
}


def check_array(manifest: Manifest, name: str, array: NDArray[Any], where: str) -> None:
    """Refuse an array that is not what the table says. Raises BundleError.

    Reads every number once. where: the file, the beginning of the error line.
    """
    schema = SCHEMA.get(name)
    if schema is None:
        return
    try:
        _check(schema, Axes(manifest), array)
    except BundleError as error:
        raise BundleError(f"{where}: {error}; copy the bundle again, or map again") from None


def _check(schema: ArraySchema, axes: Axes, array: NDArray[Any]) -> None:
    expected = tuple(n if isinstance(n, int) else axes.length(n) for n in schema.shape)
    if str(array.dtype) not in schema.dtypes or array.shape != expected:
        named = ",".join(str(axis) for axis in schema.shape)
        raise BundleError(
            f"found {array.dtype} {array.shape}, expected {' or '.join(schema.dtypes)} {expected}, "
            f"which is ({named}) of this map"
        )
    if array.size == 0 or not array.flags.c_contiguous or not array.flags.aligned:
        raise BundleError(f"found {array.shape} numbers, expected some, in C order")
    wrong = schema.check(array, axes)
    if wrong is not None:
        raise BundleError(wrong)
