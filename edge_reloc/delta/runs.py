"""One sequence of items told by another: runs that are copied, and items that are new.

An item is a row of an array, or a few bytes of another file.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays import I32, I64, U8, Bool
from ..errors import BundleError

SHORTEST_COPY_BYTES = 16  # less costs more to name than to repeat
WINDOW_BYTES = 16  # that must agree before a run is believed to go on elsewhere
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Runs(NamedTuple):
    """R steps: skip in the base, copy, then take new items; and these items.

    steps (R,3) int32; literal (L,item) bytes.
    """

    steps: I32
    literal: U8


def find_runs(base: U8, updated: U8) -> Runs:
    """How to make `updated` (M,item) of `base` (N,item), both bytes."""
    source = find_items(base, updated)
    item = updated.shape[1]
    first = np.flatnonzero(np.diff(source, prepend=-9) != _step(source))
    length = np.diff(first, append=len(source))
    start = source[first]
    copied = (start >= 0) & (length * item >= SHORTEST_COPY_BYTES)
    steps, end = [], 0
    for begin, count, copy in zip(start.tolist(), length.tolist(), copied.tolist(), strict=True):
        if copy:
            steps.append([begin - end, count, 0])
            end = begin + count
        elif steps:
            steps[-1][2] += count
        else:
            steps.append([0, 0, count])
    literal = updated[~np.repeat(copied, length)]
    return Runs(np.array(steps, np.int32).reshape(-1, 3), np.ascontiguousarray(literal))


def follow_runs(base: U8, runs: Runs) -> bytes:
    """The inverse: the bytes of `updated`, of `base` (N,item). Raises BundleError for a misfit."""
    check_steps(runs.steps, len(base), len(runs.literal))
    parts, at, new = [], 0, 0
    for skip, copy, take in runs.steps.tolist():
        at += skip
        parts += [base[at : at + copy], runs.literal[new : new + take]]
        at, new = at + copy, new + take
    return b"".join(part.data for part in parts)


def check_steps(steps: I32, count: int, literal: int) -> None:
    """BundleError unless steps take what a base of `count` items and `literal` new ones have."""
    skip, copy, take = steps.astype(np.int64).T
    end = np.cumsum(skip + copy)
    least = min(copy.min(initial=0), take.min(initial=0), (end - copy).min(initial=0))
    if least < 0 or end.max(initial=0) > count or take.sum() != literal:
        raise BundleError(f"a patch takes what its base of {count} items does not have")


def sources_of(steps: I32, count: int) -> I64:
    """(M,): which item of a base of `count` each is, -1 for new ones. Raises BundleError."""
    check_steps(steps, count, int(steps[:, 2].sum(dtype=np.int64)))
    skip, copy, take = steps.astype(np.int64).T
    begin = np.cumsum(skip + copy) - copy
    lengths = np.stack([copy, take], axis=1).ravel()
    first = np.stack([begin, np.full(len(begin), -1)], axis=1).ravel()
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    start = np.repeat(first, lengths)
    return np.asarray(np.where(start < 0, -1, start + within), np.int64)


def _step(source: I64) -> I64:
    """(M,): what the difference to the item before is where a run goes on."""
    return np.where(source < 0, 0, 1).astype(np.int64)


def find_items(base: U8, updated: U8) -> I64:
    """(M,): an equal item of the base for each, -1 where none is found."""
    out = np.full(len(updated), -1, np.int64)
    if len(base) == len(updated):  # what stayed where it was
        same = (base == updated).all(axis=1)
        out[same] = np.flatnonzero(same)
    window = max(1, -(-WINDOW_BYTES // max(updated.shape[1], 1)))
    if min(len(base), len(updated)) < window or (out >= 0).all():
        return out
    known, asked = _hashes(base, window), _hashes(updated, window)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], asked), len(order) - 1)
    found = order[place]
    hit = np.flatnonzero(known[found] == asked)
    for offset in range(window):
        rows, origin = hit + offset, found[hit] + offset
        free = (out[rows] < 0) & _equal(base, origin, updated, rows)
        out[rows[free]] = origin[free]
    return out


def _equal(base: U8, origin: I64, updated: U8, rows: I64) -> Bool:
    return np.asarray((base[origin] == updated[rows]).all(axis=1))


def _hashes(items: U8, window: int) -> np.ndarray:
    """uint64 of each item and those that follow it within the window."""
    single = np.zeros(len(items), np.uint64)
    with np.errstate(over="ignore"):
        for column in items.T:
            single = (single + column.astype(np.uint64) + np.uint64(1)) * _PRIME
            single ^= single >> np.uint64(29)
        count = len(items) - window + 1
        out = np.zeros(count, np.uint64)
        for offset in range(window):
            out = (out + single[offset : offset + count]) * _PRIME
            out ^= out >> np.uint64(31)
    return out
