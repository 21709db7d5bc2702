"""The street: yards in a row that are open to one another."""

from __future__ import annotations

import numpy as np

from edge_reloc_export.worlds.courtyard import HALF_X_M, make_courtyard
from edge_reloc_export.worlds.render import render
from edge_reloc_export.worlds.street import YARD_M, make_street
from edge_reloc_export.worlds.trajectories import look
from edge_reloc_export.worlds.world import WorldConfig
from edge_reloc_export.worlds.write import CAMERA

COARSE = WorldConfig(seed=3, texel_m=0.05, shadow_m=0)


def test_one_can_look_and_go_from_yard_to_yard() -> None:
    street = make_street(COARSE, 2)
    camera = CAMERA.scaled_to(160, 120)
    eastward = look(np.array([0.0, 0.0, 1.7]), np.pi / 2, 0.0)
    alone = render(make_courtyard(COARSE), camera, eastward, supersample=1).depth_m
    through = render(street, camera, eastward, supersample=1).depth_m
    ahead = np.s_[40:70, 75:85]
    assert np.median(alone[ahead]) < HALF_X_M + 1.0
    assert np.median(through[ahead]) > YARD_M + HALF_X_M - 1.0
    northward = look(np.array([YARD_M, 0.0, 1.7]), 0.0, 0.0)
    assert 3.0 < np.median(render(street, camera, northward, supersample=1).depth_m) < 6.5
