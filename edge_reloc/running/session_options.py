"""What a session runs: map, source, sinks, and what is watched and recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..arrays import F64
from ..methods import Settings
from ..sources.options import CameraOptions
from .budget import Rows
from .loop import Between
from .replay import Replay


@dataclass(frozen=True, kw_only=True)
class RecorderOptions:
    """What a flight recorder keeps, and where it writes it."""

    folder: Path
    #: of the stream, as far as `most_bytes` go
    seconds: float = 20.0
    #: of pixels
    most_bytes: int = 256 << 20
    #: also when the run ends well
    at_end: bool = False


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What to run."""

    map: Path
    #: as `open_source` takes it
    source: str
    settings: Settings
    #: list of photos in the source
    names: Path | None = None
    #: camera file, None for the map's only mapping camera
    calibration: Path | None = None
    #: addresses, as `open_sink` takes them
    output: tuple[str, ...] = ()
    #: (4,4) body from camera; None: as the camera file says
    mount: F64 | None = None
    picture: Path | None = None
    #: folder of a COLMAP model to compare with, by frame name
    truth: Path | None = None
    #: frames
    limit: int | None = None
    #: host memory of the process
    budget_bytes: int | None = None
    #: lower limits to keep the budget
    fit: bool = False
    #: planned in the same process beside it
    beside: Rows = ()
    #: that the process held before any of that was taken, None to measure it now
    held_bytes: int | None = None
    #: file of the public key whose holder must have signed the map
    require_signed: Path | None = None
    #: whether a state machine watches over the poses; None: over those of streams and videos
    states: bool | None = None
    #: give out the filter's poses instead of the measured ones
    filtered: bool = False
    #: poses given out between frames
    between: Between | None = None
    #: None: nothing is recorded
    recorder: RecorderOptions | None = None
    #: `source` is this recording
    replay: Replay | None = None
    #: asked of the camera
    camera_options: CameraOptions | None = None
    #: a camera or stream that goes away ends the run, instead of being opened again
    exit_on_end: bool = False
    #: called after every frame, and often while there is none
    alive: Callable[[], None] = lambda: None

    @property
    def as_recorded(self) -> bool:
        """Whether frames bring their cameras with them."""
        return self.replay is not None and self.calibration is None
