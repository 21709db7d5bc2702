"""How large a map may be: three answers, each the knee of a curve (docs/scaling.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ..scene.model import SceneModel
from .covering_points import points_that_cover


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What is kept of a reconstruction."""

    #: share of the points, those that cover the photos best
    keep: float
    #: descriptors as int8, half of float16
    int8: bool

    def applied(self, model: SceneModel) -> SceneModel:
        """The model with the points that are kept; the same one where all are."""
        if self.keep >= 1.0:
            return model
        kept = model.keep_points(points_that_cover(model, self.keep))
        kept.notes.append(f"{self.keep:.0%} of {len(model.xyz)} points kept")
        return kept


FULL = "full"
PRESETS = {
    FULL: Preset(keep=1.0, int8=False),
    "standard": Preset(keep=0.5, int8=True),
    "tiny": Preset(keep=0.25, int8=True),
}
