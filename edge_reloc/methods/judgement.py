"""How well what was trained finds mapping photos again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..bundle.fields import Range
from ..bundle.manifest import Count, Usual

Error = Annotated[float, Range(at_least=0)]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Mapping photos localised as frames are, against their mapping poses."""

    #: that were tried
    photos: Count
    #: false: they were learnt too, there were too few to leave any out
    left_out: bool
    #: of them, that got a pose
    localised: Count
    #: of these, far from where the photo was taken
    wrong: Count
    #: of those localised, map units and degrees; None without one
    median_error: Error | None = None
    median_deg: Error | None = None
    #: what right poses show, None for too few of them
    usual: Usual | None = None

    def told(self, metric: bool) -> str:
        """In words."""
        which = "left out of the training" if self.left_out else "(learnt, too few to leave any)"
        text = f"{self.localised} of {self.photos} mapping photos {which} localised"
        if self.median_error is None or self.median_deg is None:
            return text
        return (
            f"{text}, {self.wrong or 'none'} of them wrongly, median error "
            f"{self.median_error:.3g} {'m' if metric else 'units'} {self.median_deg:.2f} deg"
        )
