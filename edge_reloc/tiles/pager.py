"""Brings tiles into memory beside the frames: one at a time; hashing them gives way."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import EdgeRelocError
from ..geometry.camera import Camera
from ..methods.front import Front
from ..methods.table import Settings
from .slot import Checked, Slot

log = logging.getLogger(__name__)

NICE = 10  # of Linux: the frames' threads come first where cores are few


@dataclass(frozen=True)
class Loaded:
    """What became of a request."""

    slot: int
    tile: int
    #: why the tile cannot be used; None: it is there
    error: Exception | None = None


class Pager:
    """Loads tiles into slots that no frame uses."""

    def __init__(
        self,
        checked: Checked,
        slots: list[Slot],
        camera: Camera,
        settings: Settings,
        front: Front,
    ) -> None:
        self._tiled, self._checked, self._slots = checked.tiled, checked, slots
        self._camera, self._settings, self._front = camera, settings, front
        self._pool = ThreadPoolExecutor(1, "tiles")
        # Apart: a network's threads inherit the priority of the thread that opens it.
        self._hashing = ThreadPoolExecutor(1, "tile hashes", initializer=_give_way)
        self._job: Future[Loaded] | None = None
        #: tiles that were brought in, those that failed included
        self.count = 0

    @property
    def busy(self) -> bool:
        """Whether a request was not answered yet."""
        return self._job is not None

    def request(self, slot: int, tile: int) -> None:
        """Load a tile into a slot, which is free from now on; nothing else is under way."""
        assert self._job is None
        self._slots[slot].tile = None
        self._job = self._pool.submit(self.load, slot, tile)

    def poll(self, *, wait: bool = False) -> Loaded | None:
        """What became of the request, where that is known; wait: until it is."""
        if self._job is None or not (wait or self._job.done()):
            return None
        job, self._job = self._job, None
        return job.result()

    def load(self, slot: int, tile: int) -> Loaded:
        """The same in the caller's thread. Never raises for what a tile holds."""
        self.count += 1
        try:
            bundle = self._hashing.submit(self._checked.open, self._tiled.tiles[tile]).result()
            self._slots[slot].load(bundle, self._camera, self._settings, self._front)
        except (EdgeRelocError, OSError) as error:
            self._slots[slot].clear()
            log.warning("tile '%s' is left out: %s", self._tiled.tiles[tile].name, error)
            return Loaded(slot, tile, error)
        return Loaded(slot, tile)

    def close(self) -> None:
        """Finish what is under way, and end the threads."""
        self._pool.shutdown()
        self._hashing.shutdown()


def _give_way() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
