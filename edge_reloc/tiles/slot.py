"""Memory for one tile, used by one tile after the other."""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.array_file import COPIED_BYTES, ArrayFile, open_array
from ..bundle.layout import ENGINES
from ..bundle.reader import MapBundle
from ..geometry.camera import Camera
from ..inference.engines import Engines
from ..memory.arena import Arena
from ..methods.assemble import Line, assemble
from ..methods.front import Front
from ..methods.table import Settings
from ..structs import Correspondences
from .index import Tile, TiledMap

MADV_POPULATE_READ = 22  # Linux 5.14, <linux/mman.h>: page tables of a mapping, all at once


class TileBundle(MapBundle):
    """A bundle whose arrays lie in an arena, but for large ones, which are mapped.

    planned: takes the room and leaves it empty; arrays are then mapped and not checked.
    """

    def __init__(self, bundle: MapBundle, arena: Arena, *, planned: bool = False) -> None:
        super().__init__(bundle.directory, bundle.manifest)
        self._arena, self._planned = arena, planned
        #: of arrays that stay mapped
        self.mapped_bytes = 0
        if planned:
            self.checked = self.checked_networks = set(bundle.manifest.files)

    def _open_array(self, path: Path) -> ArrayFile:
        if self._planned:
            array = np.lib.format.open_memmap(path, mode="r")
            if array.nbytes > COPIED_BYTES:
                self.mapped_bytes += array.nbytes
            else:
                self._take(path.name, array.shape, array.dtype)
            return ArrayFile(array, None)
        found = open_array(path, self._take)
        if found.mapped is not None:
            self.mapped_bytes += found.array.nbytes
            _bring_in(found.array)
        return found

    def _take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        return self._arena.take(f"map.{name}", shape, dtype)


class Slot:
    """An arena, and the line of the tile that lies in it."""

    def __init__(self, nbytes: int) -> None:
        self.arena = Arena(nbytes)
        #: row of the tile in the index; None: free
        self.tile: int | None = None
        self.line: Line | None = None
        #: that its line works in between frames
        self.matches: Correspondences | None = None

    def load(self, bundle: MapBundle, camera: Camera, settings: Settings, front: Front) -> Line:
        """The line of another tile, in the memory of the one before it.

        Whoever had that one must have let go of it. Raises EdgeRelocError.
        """
        self.clear()
        self.arena.reset()
        own = TileBundle(bundle, self.arena)
        own.checked, own.checked_networks = bundle.checked, bundle.checked_networks
        engines = Engines(own, self.arena, precision=settings.precision, threads=settings.threads)
        try:
            line = assemble(own, camera, settings, engines, front)
        except BaseException:
            engines.close()
            raise
        self.line, self.matches = line, line.matches
        return line

    def clear(self) -> None:
        """Give the engines of its tile back."""
        if self.line is not None:
            self.line.engines.close()
        self.line = self.matches = None


class Checked:
    """Tiles whose files were compared with their sha256, and are as they were then.

    Reading and hashing a tile takes as long as the rest of loading it: once is enough while
    nobody writes to its files.
    """

    def __init__(self, tiled: TiledMap) -> None:
        self.tiled = tiled
        self._known: dict[str, tuple[object, MapBundle]] = {}

    def open(self, tile: Tile) -> MapBundle:
        """The bundle of a tile, verified. Raises BundleError."""
        bundle = self.tiled.open_tile(tile)
        facts = _facts(bundle)  # before they are hashed: what is written meanwhile changes them
        known = self._known.get(tile.name)
        if known is not None and known[0] == facts:
            return known[1]
        bundle.verify()
        self._known[tile.name] = (facts, bundle)
        return bundle


def _facts(bundle: MapBundle) -> object:
    """What changes when somebody writes to a bundle's files."""
    found = []
    for name in bundle.manifest.files:
        if not name.startswith(ENGINES):
            stat = os.stat(bundle.directory / name)
            found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


def _bring_in(array: NDArray[Any]) -> None:
    """Have a mapped file's pages in memory and in reach before a frame looks at them."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap):
        with contextlib.suppress(OSError, ValueError):  # an older kernel: frames fault them in
            mapping.madvise(MADV_POPULATE_READ)
