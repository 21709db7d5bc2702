"""The flight recorder: keeps the last seconds of a run, and writes them when something happens."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ..errors import DiskError, EdgeRelocError
from ..structs import Frame, PoseEstimate, State
from .ring import Ring
from .writer import check_package, write_recording

MOST_BY_ITSELF = 20  # recordings of one run that nobody asked for: a disk is soon full
NICENESS = 10  # of the thread that writes, beside the one that localises
PATIENCE_S = 30.0  # with a disk that takes nothing, when the run ends


class FlightRecorder:
    """Takes every frame of a run; its thread writes them to `folder` as MCAP files.

    session: what is running, by `channels.SESSION`. recall: what the localiser remembers now.
    tell: takes the one line about each recording. `add` copies a frame and returns, also
    while a recording is written or its disk blocks. Raises DiskError, MissingPackageError.
    """

    def __init__(
        self,
        folder: Path,
        ring: Ring,
        session: dict[str, Any],
        recall: Callable[[], dict[str, Any]],
        tell: Callable[[str], None],
    ) -> None:
        check_package()
        make_folder(folder)
        self._folder, self._ring, self._session = folder, ring, session
        self._recall, self._tell = recall, tell
        self._recalled: dict[str, Any] = {}
        self._state: State | None = None
        self._by_itself = 0
        self._progress = 0
        #: that were written
        self.files: list[Path] = []
        # Signal handlers may put into it, whatever they interrupt.
        self._requests: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def before_frame(self) -> None:
        """The next frame is about to be localised: its answer hangs on what is remembered now."""
        self._recalled = self._recall()

    def add(self, frame: Frame, estimate: PoseEstimate) -> None:
        """Keep a frame that was just localised; LOST makes a recording."""
        self._ring.add(frame, estimate, self._recalled)
        if estimate.state is State.LOST and self._state is not State.LOST:
            self.lost()
        self._state = estimate.state

    def between_frames(self) -> None:
        """What is remembered may have changed though no frame came."""
        self._ring.resume_here()

    def request(self, reason: str) -> None:
        """Write what there is, soon; reason: a word for the file's name."""
        self._requests.put(reason)

    def lost(self) -> None:
        """Write what led to this, at most `MOST_BY_ITSELF` times in a run."""
        self._by_itself += 1
        if self._by_itself <= MOST_BY_ITSELF:
            self.request("lost")
        if self._by_itself == MOST_BY_ITSELF:
            self._tell(f"recorder: {MOST_BY_ITSELF} times lost, the next times are not recorded")

    def close(self) -> None:
        """Finish what was asked for, unless the disk takes nothing; safe to call twice."""
        self._requests.put(None)
        before = -1
        while self._thread.is_alive() and before != self._progress:
            before = self._progress
            self._thread.join(PATIENCE_S)
        if self._thread.is_alive():
            self._tell(f"{self._folder}: the last recording is not written: the disk takes nothing")

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (reason := self._next()) is not None:
            try:
                self._write(reason)
            except EdgeRelocError as error:
                self._tell(f"recorder: {error}")

    def _next(self) -> str | None:
        """The first of all requests that wait: one recording serves them."""
        reason = self._requests.get()
        while reason is not None and not self._requests.empty():
            more = self._requests.get()
            if more is None:
                self._requests.put(None)
                break
        return reason

    def _write(self, reason: str) -> None:
        if not len(self._ring):
            self._tell("recorder: no frame yet, nothing is written")
            return
        path = self._path(reason)
        missed = self._ring.missed
        session = {**self._session, "reason": reason, "written_unix_s": time.time()}
        count = write_recording(path, session, self._counted())
        self.files.append(path)
        lines = [f"recorded {path}: {count} frames, {path.stat().st_size / 1e6:.1f} MB, {reason}"]
        if self._ring.missed > missed:
            lines.append(f"{self._ring.missed - missed} frames came meanwhile and are not kept")
        self._tell("; ".join(lines))

    def _counted(self) -> Any:
        for entry in self._ring.read():
            self._progress += 1
            yield entry

    def _path(self, reason: str) -> Path:
        """A name that is not taken: clocks of vehicles may start anew."""
        stem = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}_{reason}"
        names = [stem, *(f"{stem}_{number}" for number in range(2, 10_000))]
        return next(p for n in names if not (p := self._folder / f"{n}.mcap").exists())


def make_folder(folder: Path) -> None:
    """Where recordings go, in a folder that is there. Raises DiskError."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DiskError(f"{folder}: cannot be made ({error.strerror})") from None
