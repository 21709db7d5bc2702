"""The usual registration strategy: everything matched at once, then solved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .method import Wiring

if TYPE_CHECKING:
    from ..stages import Registration


def one_pass(wiring: Wiring) -> Registration:
    """Match, solve, and refine where that is asked for."""
    from ..pose.registration import OnePass

    assert wiring.matcher is not None  # there are points to match with
    refiner = wiring.second_pass if wiring.refines else None
    return OnePass(wiring.matcher, wiring.solver, refiner)
