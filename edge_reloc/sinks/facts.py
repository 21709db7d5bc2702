"""What sinks know of a run beside its poses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..arrays import F32
from ..bundle.manifest import World
from ..geometry.camera import Camera


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class RunFacts:
    """Known before the first frame."""

    #: of the place
    map_name: str = "map"
    #: the frame that poses refer to
    world: World = field(default_factory=lambda: World(metric=False))
    #: at the source's resolution, with its mount; None: several, or unknown
    camera: Camera | None = None
    #: (P,3) map points; none where networks hold the map
    xyz: F32 = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    #: where frames come from, in words
    source: str = ""
    #: whether frames come as they are taken, so that nothing may wait for a receiver
    live: bool = False
