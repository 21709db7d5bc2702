"""Named settings of the training: ours, and those of SS-DVR as published.

Section 4.2 of the paper; where it says nothing, those of ACE (Brachmann et al., CVPR 2023,
section 4), whose backbone, head and sampling it builds on. docs/scene_coordinates.md compares
them one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ...choice import choose
from ...nets.scene_coordinates import SHAPES, HeadShape
from .partition import LabelConfig
from .regression_loss import LossConfig
from .samples import BufferConfig


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Shape, data, loss and schedule; the defaults are ours."""

    name: str = "quick"  #: of the preset
    #: cells speak for their most salient spots, and the more salient half of them is asked;
    #: else all of them, for their middles
    salient: bool = True
    shape: HeadShape = SHAPES["small"]  #: of the network
    buffer: BufferConfig = field(default_factory=BufferConfig)  #: what is sampled of photos
    labels: LabelConfig = field(default_factory=LabelConfig)  #: partition of the place
    loss: LossConfig = field(default_factory=LossConfig)  #: what is made small
    iterations: int = 4000  #: steps of the optimiser
    cells: int = 2560  #: a batch
    #: share of a batch without known depth, where there are such; None: as in the buffer
    unknown: float | None = 0.1
    hidden: float = 0.0  #: share of a cell's features hidden from the network, others each time
    learning_rate: float = 2e-3  #: largest of the cycle
    first_rate: float = 0.04  #: share of it that the cycle begins with
    warm_up: float = 0.1  #: share of the iterations in which the rate rises
    weight_decay: float = 0.01  #: of AdamW
    largest_gradient: float = 100.0  #: norm over which gradients are cut
    kept: float = 0.49  #: share of the regressed cells that is kept, the surest
    threshold_px: float = 14.0  #: of an inlier, at 640 pixels width
    seed: int = 0  #: of weights and draws


#: cells that ACE samples of all mapping photos, and passes over them
ACE_BUFFER, ACE_PASSES, ACE_BATCH = 8_000_000, 16, 5120

PRESETS = {
    "quick": SceneConfig(),
    "paper": SceneConfig(
        name="paper",
        salient=False,
        shape=SHAPES["paper"],
        buffer=BufferConfig(total=ACE_BUFFER, any_depth=1024, augmentation="ace"),
        labels=LabelConfig(
            of_cells=None, batch=400_000, rounds=200, whitened=False, by_pair=True, scaled=False
        ),
        loss=LossConfig(
            alpha_of_median=0.0,
            gamma=100.0,
            score_from=0.0,
            clamp_px=None,
            in_pixels=False,
            over_known=False,
        ),
        iterations=ACE_PASSES * ACE_BUFFER // ACE_BATCH,
        cells=ACE_BATCH,
        unknown=None,
        learning_rate=5e-3,
        first_rate=0.1,
        warm_up=0.3,
        largest_gradient=math.inf,
        threshold_px=10.0,
    ),
}


def preset(name: str, *, iterations: int | None = None, shape: str | None = None) -> SceneConfig:
    """A named schedule, perhaps of another length or for another network."""
    config = choose(PRESETS, name, "preset")
    return replace(
        config,
        iterations=iterations or config.iterations,
        shape=config.shape if shape is None else choose(SHAPES, shape, "network"),
    )
