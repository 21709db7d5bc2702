"""How methods come from candidates, or from regressed points, to a pose."""

from __future__ import annotations

from ..geometry.camera import Camera
from ..stages import Matcher, Refiner, Regressor, Solver
from ..structs import PoseEstimate, Work

SUREST = 4  # one in so many of the regressed cells, by score


class OnePass:
    """All candidates matched at once, one pose solved, then refined where that is asked for."""

    def __init__(self, matcher: Matcher, solver: Solver, refiner: Refiner | None) -> None:
        self._matcher, self._solver = matcher, solver
        #: begins with every pose that is solved
        self.refiner = refiner

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """Match, solve, refine."""
        self._matcher.match(work.features, work.candidates, work.matches)
        work.clock.lap("match")
        estimate = self._solver.solve(camera, work.matches)
        work.clock.lap("solve")
        if self.refiner is not None and estimate.cam_from_world is not None:
            work.unguided = work.matches
            estimate, work.matches = self.refiner.refine(
                camera, work.features, estimate, work.matches
            )
            work.clock.lap("second_pass")
        return estimate


class Regression:
    """Correspondences straight from a network, the surest first.

    min_surest_ratio: of the surest quarter, the share that must agree with a pose. In a view
    that the network does not know, chance may unite a tenth or a quarter of all cells, but
    hardly those that it is sure of.
    """

    def __init__(self, regressor: Regressor, solver: Solver, min_surest_ratio: float) -> None:
        self._regressor, self._solver = regressor, solver
        self._min_surest_ratio = min_surest_ratio

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """Regress, solve, ask the surest; no candidate is asked for."""
        self._regressor.regress(work.features, work.matches)
        work.clock.lap("match")
        estimate = self._solver.solve(camera, work.matches)
        estimate = self._judge(estimate)
        work.clock.lap("solve")
        return estimate

    def _judge(self, estimate: PoseEstimate) -> PoseEstimate:
        """The same, without a pose where the surest disagree with it."""
        if estimate.cam_from_world is None or estimate.inlier_index is None:
            return estimate
        surest = max(estimate.matches // SUREST, 1)
        agree = int((estimate.inlier_index < surest).sum())
        if agree >= self._min_surest_ratio * surest:
            return estimate
        return estimate.refused(
            f"{agree} of the {surest} surest cells agree with the pose, "
            f"{self._min_surest_ratio:.0%} are needed: the network does not know this view"
        )
