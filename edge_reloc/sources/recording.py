"""The frames of a flight recording, as they were localised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..geometry.camera import Camera
from ..structs import Frame
from .in_files import InFiles
from .recording_file import Recording

Resume = Callable[[Frame, dict[str, Any]], None]


class RecordingSource(InFiles):
    """Frames of a file of `edge-reloc run --record`, with their times and cameras.

    camera: instead of the recorded ones. resume: given the first frame and each one after a gap,
    before it is handed over, with what the localiser remembered then; a replay to the bit needs
    it. Iterating again starts again.
    """

    def __init__(
        self,
        path: str | Path,
        camera: Camera | None = None,
        resume: Resume | None = None,
    ) -> None:
        super().__init__()
        self.recording = Recording(path)
        self.resume = resume
        self._camera = camera
        first = next(self.recording.frames(), None)
        if first is None:
            raise SourceError(f"{path}: the recording holds no frame")
        self.height, self.width = first.frame.image.shape[:2]
        if camera is not None:
            camera.scaled_to(self.width, self.height)  # or it is refused now

    @property
    def about(self) -> str:
        """What was opened."""
        return f"recording, {self.width}x{self.height}, times of its capture"

    def _frames(self) -> Iterator[Frame]:
        for recorded in self.recording.frames():
            frame = recorded.frame
            if self._camera is not None:
                height, width = frame.image.shape[:2]
                frame = replace(frame, camera=self._camera.scaled_to(width, height))
            if self.resume is not None and recorded.recalled is not None:
                self.resume(frame, recorded.recalled)
            yield frame
