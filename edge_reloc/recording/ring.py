"""The last seconds of a stream in memory that is taken once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import U8
from ..memory.arena import ALIGNMENT_BYTES, Arena
from ..structs import Frame, PoseEstimate

MOST_RATE_HZ = 60.0  # of a camera; a faster one is remembered for fewer seconds
NOTE_BYTES = 8 << 10  # what is kept of a frame beside its pixels


def ring_bytes(width: int, height: int, seconds: float, most_bytes: int) -> int:
    """Pixels of so many seconds of grey frames, or of as many as `most_bytes` hold."""
    return max(min(round(seconds * MOST_RATE_HZ) * width * height, most_bytes), width * height)


def notes_bytes(seconds: float) -> int:
    """What a full ring keeps beside pixels."""
    return _most_entries(seconds) * NOTE_BYTES


def _most_entries(seconds: float) -> int:
    return max(round(seconds * MOST_RATE_HZ), 1)


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Entry:
    """A frame, what became of it, and what the localiser remembered before it."""

    #: its image lies in the ring
    frame: Frame
    estimate: PoseEstimate
    recalled: dict[str, Any]
    #: whether that does not follow from the entry before, as where frames are missing
    after_gap: bool
    #: of its pixels, counted on through all that ever went into the ring
    begin: int


class Ring:
    """Frames in the order they came; the oldest make room for new ones.

    What is being read stays: a frame that finds no room beside it is left out, which the
    next entry tells.
    """

    def __init__(self, nbytes: int, seconds: float) -> None:
        nbytes = -(-nbytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._pixels: U8 = Arena(nbytes).take("frames", (nbytes,), np.uint8)
        self._most_ns, self._most_entries = round(seconds * 1e9), _most_entries(seconds)
        self._entries: deque[Entry] = deque()
        self._end = 0  # where the next frame goes, counted on
        self._kept_from: int | None = None  # of what is being read
        self._gap = False
        self._lock = threading.Lock()
        #: frames that were left out
        self.missed = 0

    def add(self, frame: Frame, estimate: PoseEstimate, recalled: dict[str, Any]) -> None:
        """Copy a frame into the ring."""
        image = np.ascontiguousarray(frame.image)
        with self._lock:
            begin = self._make_room(image.nbytes, _time_ns(frame))
            if begin is None:
                self.missed += 1
                self._gap = True
                return
            kept = self._view(begin, image.nbytes).reshape(image.shape)
            kept[...] = image
            entry = Entry(
                frame=replace(frame, image=kept),
                estimate=replace(estimate, inlier_index=None),
                recalled=recalled,
                after_gap=self._gap,
                begin=begin,
            )
            self._entries.append(entry)
            self._gap = False

    def resume_here(self) -> None:
        """What is remembered before the next frame does not follow from the last one."""
        with self._lock:
            self._gap = True

    def read(self) -> Iterator[Entry]:
        """All entries there are now, the oldest first; one reader at a time.

        An entry's image is valid until the next entry is asked for.
        """
        with self._lock:
            entries = list(self._entries)
            self._kept_from = entries[0].begin if entries else None
        try:
            for entry in entries:
                with self._lock:
                    self._kept_from = entry.begin
                yield entry
        finally:
            with self._lock:
                self._kept_from = None

    def __len__(self) -> int:
        return len(self._entries)

    def _make_room(self, nbytes: int, now_ns: int) -> int | None:
        """Where `nbytes` go, None where there is no room; drops what is too old for it."""
        size = len(self._pixels)
        begin = self._end
        if begin % size + nbytes > size:  # a frame lies in one piece
            begin += size - begin % size
        if nbytes > size or not self._may_drop(begin + nbytes - size):
            return None
        while self._entries and self._entries[0].begin < begin + nbytes - size:
            self._entries.popleft()
        while self._entries and self._too_old(self._entries[0], now_ns):
            self._entries.popleft()
        while len(self._entries) >= self._most_entries:
            self._entries.popleft()
        self._end = begin + nbytes
        return begin

    def _may_drop(self, before: int) -> bool:
        return self._kept_from is None or self._kept_from >= before

    def _too_old(self, entry: Entry, now_ns: int) -> bool:
        return now_ns - _time_ns(entry.frame) > self._most_ns

    def _view(self, begin: int, nbytes: int) -> U8:
        start = begin % len(self._pixels)
        return self._pixels[start : start + nbytes]


def _time_ns(frame: Frame) -> int:
    """When it came; of photos and videos, when it was taken."""
    return frame.t_ns if frame.received_ns is None else frame.received_ns
