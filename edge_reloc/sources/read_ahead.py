"""Frames of files, read before they are asked for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from ..structs import Frame


class ReadAhead:
    """The next frames, by a thread that is at most so many ahead; `close` ends it."""

    def __init__(self, frames: Iterable[Frame], most: int) -> None:
        self._most = most
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._all_read = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._read, args=(frames,), name="reads ahead", daemon=True
        )
        self._thread.start()

    def following(self, timeout_s: float = 0.0) -> Frame | None:
        """The next frame, which stays; None where it is not read in time, or at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._all_read, timeout_s)
            return self._frames[0] if self._frames else None

    def check(self) -> None:
        """Raise what reading raised, when all that was read before is taken."""
        if not self._frames and self._error is not None:
            raise self._error

    def take(self) -> Frame:
        """What `following` has told of."""
        with self._changed:
            self._changed.notify_all()
            return self._frames.popleft()

    @property
    def ended(self) -> bool:
        """Whether there is no further frame."""
        return self._all_read and not self._frames and self._error is None

    def close(self) -> None:
        """Wait for the read that is under way."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
        self._thread.join()

    def _read(self, frames: Iterable[Frame]) -> None:
        try:
            for frame in frames:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._frames) < self._most or self._closed)
                    if self._closed:
                        break
                    self._frames.append(frame)
                    self._changed.notify_all()
        except BaseException as error:  # raised where the frame was asked for
            self._error = error
        with self._changed:
            self._all_read = True
            self._changed.notify_all()
