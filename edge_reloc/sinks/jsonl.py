"""One JSON object a line: every frame, with status, pose and covariance."""

from __future__ import annotations

import json
from pathlib import Path

from ..structs import PoseEstimate
from .lines import LineFile


class JsonlSink:
    """Writes `PoseEstimate.to_json()`; frames without a pose have null."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def write(self, estimate: PoseEstimate) -> None:
        self._file.write(json.dumps(estimate.to_json(), allow_nan=False))

    def close(self) -> None:
        self._file.close()
