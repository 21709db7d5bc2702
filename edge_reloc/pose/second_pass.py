"""From a pose to a better one that the whole image agrees with, or to none.

Every map point that the pose should see is looked for where it should be, wide then close.
This is also the test of the pose: around a wrong one, large parts of the image stay silent.
"""

from __future__ import annotations

from dataclasses import replace

from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..geometry.rigid import Array
from ..memory.arena import Arena
from ..settings import Gate
from ..structs import Correspondences, Features, PoseEstimate
from .guided import GuidedMatcher
from .solver import NARROWING, PoseSolver

WIDE = 2.4  # first look, in inlier thresholds; the other is 1
ROUGH_WIDE = 5.0  # the same around a predicted pose or that of a single landmark
# Of the matches found that widely; by chance 4% lie within the threshold of a given place,
# and up to 27% within that of the pose that suits them best.
ROUGH_AGREEMENT = 0.3
LOOKS = 3  # at most; each starts from the pose that the one before ended with
GROWTH = 1.2  # inliers over those before that make another look worth it
SIMILARITY_CONCEDED = 0.12  # similarity that is conceded to the right place


class SecondPass:
    """Guided matching around a pose, and the test that the whole image agrees.

    gate: of first poses around a rough one, but for their share of inliers. min_similarity:
    of the first pass. min_coverage: share of the image that must agree.
    """

    def __init__(
        self,
        points: PointMap,
        arena: Arena,
        solver: PoseSolver,
        gate: Gate,
        *,
        seed: int,
        threshold_px: float,
        keypoints: int,
        min_similarity: float,
        min_coverage: float,
    ) -> None:
        self._points = points
        self._guided = GuidedMatcher(points, min_similarity=min_similarity - SIMILARITY_CONCEDED)
        self._solver = solver
        self._rough_solver = PoseSolver(
            threshold_px=threshold_px,
            gate=replace(gate, min_inlier_ratio=ROUGH_AGREEMENT),
            seed=seed,
        )
        self._min_coverage = min_coverage
        self._spare = Correspondences(arena, keypoints)

    def refine(
        self, camera: Camera, features: Features, first: PoseEstimate, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Look around the pose of `first` until no more is found.

        matches: those of `first`. Returns the answer and the correspondences that it speaks
        of: `matches`, or a buffer that is kept here while `matches` takes its place.
        """
        assert first.cam_from_world is not None
        cam_from_world = first.cam_from_world
        self._guided.forget()
        threshold = self._solver.threshold_px(camera)
        best = first
        for _ in range(LOOKS):
            # How well points are known counts at the end, which decides.
            for radius, narrowing, points in (
                (WIDE, NARROWING, None),
                (1.0, (1.0, 1.0), self._points),
            ):
                self._guided.match(
                    camera, cam_from_world, features, radius * threshold, self._spare
                )
                again = self._solver.refine(camera, cam_from_world, self._spare, narrowing, points)
                if again.cam_from_world is None:
                    return again, matches
                cam_from_world = again.cam_from_world
            grown = again.inliers > GROWTH * best.inliers
            best = again
            matches, self._spare = self._spare, matches
            if not grown:
                break
        return self._judge(camera, features, best, matches), matches

    def around(
        self, camera: Camera, features: Features, rough: Array, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Solve anew on what lies roughly where a rough pose expects it, then refine.

        Places speak for these matches already, so many of them must agree. Returns as
        `refine` does.
        """
        self._guided.forget()
        radius = ROUGH_WIDE * self._solver.threshold_px(camera)
        self._guided.match(camera, rough, features, radius, matches)
        first = self._rough_solver.solve(camera, matches)
        if first.cam_from_world is None:
            return first, matches
        return self.refine(camera, features, first, matches)

    def _judge(
        self, camera: Camera, features: Features, best: PoseEstimate, matches: Correspondences
    ) -> PoseEstimate:
        coverage = self._guided.coverage(camera, features, matches.xy_px[best.inlier_index])
        if coverage >= self._min_coverage:
            return replace(best, refined=True)
        return best.refused(
            f"{best.inliers} inliers, but only {coverage:.0%} of the image agrees with "
            f"the pose, {self._min_coverage:.0%} are needed"
        )
