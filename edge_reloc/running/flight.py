"""When a run's flight recorder writes: at a signal, at a crash, and at the end if asked."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from ..recording.recorder import FlightRecorder


@contextlib.contextmanager
def recording(recorder: FlightRecorder | None, *, at_end: bool) -> Iterator[None]:
    """While frames run: SIGUSR1 asks for a recording, and so does whatever ends it badly."""
    if recorder is None:
        yield
        return
    with on_signal(signal.SIGUSR1, lambda: recorder.request("signal")):
        try:
            yield
        except Exception:
            recorder.request("crash")
            raise
    if at_end:
        recorder.request("end")


@contextlib.contextmanager
def on_signal(number: signal.Signals, called: Callable[[], None]) -> Iterator[None]:
    """While it is open, the signal does that; Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: called())
    try:
        yield
    finally:
        signal.signal(number, before)
