"""Reference poses of the demo, and how far the estimates lie from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array
from ..geometry.rigid import PoseError, pose_error
from ..structs import PoseEstimate
from .colmap import read_model


@dataclass(frozen=True, kw_only=True)
class TruthSummary:
    """Errors over the localised frames; None when there is none."""

    frames: int
    localized: int
    median_m: float | None = None
    median_deg: float | None = None
    p90_m: float | None = None
    p90_deg: float | None = None
    max_m: float | None = None
    max_deg: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)

    def to_text(self) -> str:
        """One line for people."""
        share = 100.0 * self.localized / self.frames if self.frames else 0.0
        text = f"truth      {self.localized} of {self.frames} frames localised ({share:.1f} %)"
        rows = {
            "median": (self.median_m, self.median_deg),
            "p90": (self.p90_m, self.p90_deg),
            "max": (self.max_m, self.max_deg),
        }
        for name, (metres, degrees) in rows.items():
            if metres is not None and degrees is not None:
                text += f"   {name} {100 * metres:.2f} cm {degrees:.3f}°"
        return text


class TruthComparison:
    """Collects the error of every frame that has a reference pose."""

    def __init__(self, cam_from_world_by_name: dict[str, Array]) -> None:
        self._truth = cam_from_world_by_name
        self._errors: list[PoseError] = []
        self._frames = 0

    def add(self, estimate: PoseEstimate) -> None:
        """Compare one frame; frames without a reference are left out."""
        reference = self._truth.get(estimate.name)
        if reference is None:
            return
        self._frames += 1
        if estimate.cam_from_world is not None:
            self._errors.append(pose_error(estimate.cam_from_world, reference))

    def summary(self) -> TruthSummary:
        """Median, 90th percentile and maximum over the localised frames."""
        if not self._errors:
            return TruthSummary(frames=self._frames, localized=0)
        median, p90, worst = np.percentile(np.array(self._errors), [50, 90, 100], axis=0)
        return TruthSummary(
            frames=self._frames,
            localized=len(self._errors),
            median_m=float(median[0]),
            median_deg=float(median[1]),
            p90_m=float(p90[0]),
            p90_deg=float(p90[1]),
            max_m=float(worst[0]),
            max_deg=float(worst[1]),
        )


def read_truth(folder: Path) -> dict[str, Array]:
    """`cam_from_world` by photo name from a COLMAP model's folder."""
    return {image.name: image.cam_from_world for image in read_model(folder).images}
