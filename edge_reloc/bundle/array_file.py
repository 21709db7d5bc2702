"""One array of a bundle: a copy of its own where it is small, else mapped and watched.

A file that is cut short while it is mapped ends the process by SIGBUS at the next look at
it, and one that is written over changes the map under the localiser. A copy is safe from
both. Of a large array the next frame tells.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError

#: an array up to this size is copied; a larger one is mapped and shared between processes
COPIED_BYTES = 8 << 20


#: where a copy goes: name of the file, shape and dtype to a buffer
Take = Callable[[str, tuple[int, ...], np.dtype[Any]], NDArray[Any]]


class MappedFile(NamedTuple):
    """What is known of a mapped file, to notice when it changes in place."""

    path: Path
    device: int
    inode: int
    nbytes: int
    modified_ns: int

    def check(self) -> None:
        """Raises BundleError when the file itself was written to.

        One that was replaced or removed is no harm: the old file is still mapped.
        """
        try:
            now = _facts(self.path)
        except OSError:
            return
        if (now.device, now.inode) == (self.device, self.inode) and now != self:
            raise BundleError(
                f"{self.path}: changed while it was in use (found {now.nbytes} bytes, expected "
                f"{self.nbytes} as they were written before); start again, and replace a map "
                f"as a whole instead of writing into its files"
            )


class ArrayFile(NamedTuple):
    """An array, and the file that it is mapped from; None where it is a copy."""

    array: NDArray[Any]
    mapped: MappedFile | None


def open_array(path: Path, take: Take | None = None) -> ArrayFile:
    """The read-only array of a .npy file. What numpy cannot read raises what numpy raises.

    take: gives the buffer of a copy; None lets numpy do that.
    """
    facts = _facts(path)
    # Not np.load: that would open zip archives and more besides.
    mapped = np.lib.format.open_memmap(path, mode="r")
    if mapped.nbytes > COPIED_BYTES:
        return ArrayFile(mapped, facts)
    if take is not None and mapped.flags.c_contiguous:
        return ArrayFile(_copied(path, mapped, take), None)
    order: Literal["C", "F"] = "C" if mapped.flags.c_contiguous else "F"
    flat = np.fromfile(path, mapped.dtype, mapped.size, offset=mapped.offset)
    copy = flat.reshape(mapped.shape, order=order)  # fails where the file has become shorter
    copy.flags.writeable = False
    return ArrayFile(copy, None)


def _copied(path: Path, mapped: np.memmap[Any, Any], take: Take) -> NDArray[Any]:
    """Its numbers in a buffer of somebody else's; read, not looked at: see above."""
    buffer = take(path.name, mapped.shape, mapped.dtype)
    with open(path, "rb") as stream:
        stream.seek(mapped.offset)
        found = stream.readinto(buffer.reshape(-1).view(np.uint8).data)
    if found != buffer.nbytes:
        raise ValueError(f"{found} bytes of numbers, expected {buffer.nbytes}")
    copy = buffer.view()
    copy.flags.writeable = False
    return copy


def _facts(path: Path) -> MappedFile:
    found = os.stat(path)
    return MappedFile(path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
