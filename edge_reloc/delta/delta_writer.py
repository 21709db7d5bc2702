"""What changed from one bundle to another, found by comparing their files."""

from __future__ import annotations

import hashlib

import numpy as np

from ..arrays import I32
from ..bundle import MapBundle, layout
from ..bundle.manifest import FileEntry, manifest_bytes
from .delta_file import DeltaHeader, Patch, delta_bytes
from .renumbering import RENUMBERED, as_items, new_numbers, renumber
from .runs import Runs, find_runs


def make_delta(base: MapBundle, updated: MapBundle) -> bytes:
    """The file that makes `updated` of `base`; its size is what is new in it."""
    before, after = manifest_bytes(base.directory), manifest_bytes(updated.directory)
    runs = find_runs(as_items(before, 1), as_items(after, 1))
    found = [(_patch(layout.MANIFEST, runs, nbytes=len(after)), b"", runs)]
    numbers: I32 | None = None
    # Points first: lists of points are compared by the numbers that these got.
    for name in sorted(updated.manifest.files, key=lambda file: (file != layout.XYZ, file)):
        entry, was = updated.manifest.files[name], base.manifest.files.get(name)
        if was is not None and was.sha256 == entry.sha256:
            continue
        found.append(_compared(base, updated, name, numbers))
        if name == layout.XYZ and was is not None:
            numbers = new_numbers(found[-1][2].steps, base.array(name).shape[0])
    signature = updated.directory / layout.SIGNATURE
    header = DeltaHeader(
        base_sha256=hashlib.sha256(before).hexdigest(),
        updated_sha256=hashlib.sha256(after).hexdigest(),
        signature=signature.read_bytes().hex() if signature.is_file() else None,
        patches=tuple(patch for patch, _, _ in found),
    )
    return delta_bytes(header, [(head, runs) for _, head, runs in found])


def _compared(
    base: MapBundle, updated: MapBundle, name: str, numbers: I32 | None
) -> tuple[Patch, bytes, Runs]:
    """One file's patch. numbers: of the base's points in the updated bundle."""
    entry, was = updated.manifest.files[name], base.manifest.files.get(name)
    new = updated.path(name).read_bytes()
    item = _item_bytes(entry)
    old, old_head = b"", 0
    if was is not None and _item_bytes(was) == item:
        old = base.path(name).read_bytes()
        old_head = _head_bytes(was)
    head = _head_bytes(entry)
    items = as_items(old[old_head:], item)
    renumbered = numbers is not None and name in RENUMBERED and len(items) > 0
    if renumbered:
        assert numbers is not None
        items = renumber(items, numbers)
    runs = find_runs(items, as_items(new[head:], item))
    patch = _patch(
        name,
        runs,
        nbytes=len(new),
        head_bytes=head,
        base_head_bytes=old_head,
        renumbered=renumbered,
    )
    return patch, new[:head], runs


def _patch(
    name: str,
    runs: Runs,
    *,
    nbytes: int,
    head_bytes: int = 0,
    base_head_bytes: int = 0,
    renumbered: bool = False,
) -> Patch:
    return Patch(
        name=name,
        item_bytes=runs.literal.shape[1],
        base_head_bytes=base_head_bytes,
        head_bytes=head_bytes,
        steps=len(runs.steps),
        new_items=len(runs.literal),
        nbytes=nbytes,
        renumbered=renumbered,
    )


def _item_bytes(entry: FileEntry) -> int:
    """Of a row; 1 in files that are no arrays."""
    if not entry.shape:
        return 1
    count = int(np.prod(entry.shape[1:], dtype=np.int64))
    return max(1, np.dtype(entry.dtype).itemsize * count)


def _head_bytes(entry: FileEntry) -> int:
    """What stands before an array's rows."""
    if not entry.shape:
        return 0
    return entry.nbytes - entry.shape[0] * _item_bytes(entry)
