"""How methods come from candidates, or from regressed points, to a pose."""

from __future__ import annotations

from ..geometry.camera import Camera
from ..stages import Matcher, Refiner, Regressor, Solver
from ..structs import PoseEstimate, Work


class OnePass:
    """All candidates matched at once, one pose solved, then refined where that is asked for."""

    def __init__(self, matcher: Matcher, solver: Solver, refiner: Refiner | None) -> None:
        self._matcher, self._solver, self._refiner = matcher, solver, refiner

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """Match, solve, refine."""
        self._matcher.match(work.features, work.candidates, work.matches)
        work.clock.lap("match")
        estimate = self._solver.solve(camera, work.matches)
        work.clock.lap("solve")
        if self._refiner is not None and estimate.cam_from_world is not None:
            estimate, work.matches = self._refiner.refine(
                camera, work.features, estimate, work.matches
            )
            work.clock.lap("second_pass")
        return estimate


class Regression:
    """Correspondences straight from a network."""

    def __init__(self, regressor: Regressor, solver: Solver) -> None:
        self._regressor, self._solver = regressor, solver

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """Regress, solve; no candidate is asked for."""
        self._regressor.regress(work.features, work.matches)
        work.clock.lap("match")
        estimate = self._solver.solve(camera, work.matches)
        work.clock.lap("solve")
        return estimate
