"""Points get other numbers when some go and some come; lists of points follow them."""

from __future__ import annotations

import numpy as np

from ..arrays import I32, U8
from ..bundle import layout
from ..errors import BundleError
from .runs import sources_of

RENUMBERED = tuple(ids for _, ids in layout.POINT_LISTS)


def as_items(content: bytes, item_bytes: int) -> U8:
    """Bytes as (N,item). Raises BundleError where they are no whole number of items."""
    if len(content) % item_bytes:
        raise BundleError(f"{len(content)} bytes are no rows of {item_bytes}")
    return np.frombuffer(content, np.uint8).reshape(-1, item_bytes)


def new_numbers(steps: I32, count: int) -> I32:
    """(N,): which row each of a base's N rows became, -1 for those that went."""
    source = sources_of(steps, count)
    out = np.full(count, -1, np.int32)
    kept = np.flatnonzero(source >= 0)
    out[source[kept]] = kept
    return out


def renumber(items: U8, numbers: I32) -> U8:
    """Numbers of points (N,4) bytes by their new ones (P,); those that went are left out.

    Raises BundleError where they are none.
    """
    if items.shape[1] != 4:
        raise BundleError(f"a list of points has rows of {items.shape[1]} bytes, expected 4")
    ids = np.ascontiguousarray(items).view("<i4").ravel()
    if len(ids) and not (ids.min() >= 0 and ids.max() < len(numbers)):
        raise BundleError(f"a list names points up to {ids.max()}, the base has {len(numbers)}")
    ids = numbers[ids]
    return np.ascontiguousarray(ids[ids >= 0].astype("<i4")).view(np.uint8).reshape(-1, 4)
