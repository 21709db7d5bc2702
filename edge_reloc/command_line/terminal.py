"""What reaches the terminal of a program: our own lines, and none of the libraries' logs.

What a library finds wrong with a file we say ourselves, in one line. OpenCV, FFmpeg and glog
have levels. libjpeg and libpng have none and write to descriptor 2, so that this is closed to
them while they decode, and our own lines go by another. Any other OPENCV_LOG_LEVEL set by hand
leaves everything as it is, to see what they say.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

SWITCH = "OPENCV_LOG_LEVEL"
QUIET = {
    SWITCH: "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # FFmpeg's AV_LOG_QUIET
    "GLOG_minloglevel": "3",  # only what ends the process
}
STDERR = 2

_lock = threading.Lock()
_decoding = 0
_terminal: int | None = None  # a copy of descriptor 2, once our lines do not need it
_nowhere = -1


def quiet_libraries() -> None:
    """For programs, at their very beginning; a program that another started is as quiet."""
    global _terminal, _nowhere
    if os.environ.get(SWITCH, QUIET[SWITCH]) != QUIET[SWITCH]:
        return
    for name, level in QUIET.items():
        os.environ.setdefault(name, level)
    opencv = sys.modules.get("cv2")  # it read its level when it was imported
    if opencv is not None:
        log = opencv if hasattr(opencv, "setLogLevel") else opencv.utils.logging  # 4.x or 5
        log.setLogLevel(0)
    if _terminal is not None:
        return
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr, or a stand-in
        if sys.stderr.fileno() == STDERR:
            _nowhere, _terminal = os.open(os.devnull, os.O_WRONLY), os.dup(STDERR)
            kind, unknown = sys.stderr.encoding, sys.stderr.errors
            # Not closed at exit, when the last line may still be on its way.
            sys.stderr = open(_terminal, "w", 1, kind, unknown, closefd=False)  # noqa: SIM115


@contextlib.contextmanager
def silent_decoders() -> Iterator[None]:
    """While C libraries decode: what they write is for nobody; in programs only."""
    global _decoding
    if _terminal is None:
        yield
        return
    with _lock:
        _decoding += 1
        if _decoding == 1:
            os.dup2(_nowhere, STDERR)
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if _decoding == 0:
                os.dup2(_terminal, STDERR)
