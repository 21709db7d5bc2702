"""A street: courtyards in a row, open to one another, each with its own houses and things.

Yard n has its middle at x = n * YARD_M. The walls between two yards are left out, with what
stands against them, so that a camera can be carried from one end to the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_reloc.arrays import F64

from .courtyard import HALF_X_M, make_courtyard
from .world import Quad, World, WorldConfig

YARD_M = 2 * HALF_X_M
OPEN_M = 1.3  # of each yard's ends
CLEAR_M = 1.2  # half width of the lane down the middle, in which nothing stands


def make_street(config: WorldConfig, yards: int) -> World:
    """Yards in a row along x; the same config gives the same bytes."""
    quads: list[Quad] = []
    for number in range(yards):
        yard = make_courtyard(replace(config, seed=config.seed + number))
        shift = np.array([number * YARD_M, 0.0, 0.0])
        ends = (number == 0, number == yards - 1)
        quads += [_moved(quad, shift) for quad in yard.quads if _stays(quad, ends)]
    return World(quads=quads, sky=yard.sky)


def _stays(quad: Quad, ends: tuple[bool, bool]) -> bool:
    """Whether a quad of a yard is part of the street."""
    x, y, _ = quad.corners.mean(axis=0)
    flat = float(np.ptp(quad.corners[:, 0])) > YARD_M  # the ground
    if flat:
        return True
    west, east = x < -HALF_X_M + OPEN_M, x > HALF_X_M - OPEN_M
    if (west and not ends[0]) or (east and not ends[1]):
        return bool(abs(y) > CLEAR_M + 2.6)  # the corners of the houses
    return bool(abs(y) > CLEAR_M)


def _moved(quad: Quad, shift: F64) -> Quad:
    return Quad(
        corner=quad.corner + shift,
        edge_u=quad.edge_u,
        edge_v=quad.edge_v,
        texture=quad.texture,
    )
