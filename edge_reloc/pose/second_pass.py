"""From a pose to a better one that the whole image agrees with, or to none.

Every map point that the pose should see is looked for where it should be, wide then close.
This is also the test of the pose: around a wrong one, large parts of the image stay silent.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..bundle.points import PointMap
from ..geometry.camera import Camera
from ..geometry.rigid import Array, transform
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
NEAR = 2.4  # around a pose that the last frames predict well
# Of the matches found that closely; by chance 17% lie within the threshold of a given place.
# Of 172 wrong predictions in three places one had a coverage that is believed, with 35%.
NEAR_AGREEMENT = 0.4
NEAR_KEYPOINTS = 1024  # the best ones are enough where the last frame had ENOUGH inliers
ENOUGH = 300
KEPT = 0.35  # of the last frame's inliers, found by fewer keypoints
ONCE = (1.0,)  # a round of refinement, of what lies within the threshold
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
        self._spare = [Correspondences(arena, keypoints) for _ in range(2)]

    def refine(
        self, camera: Camera, features: Features, first: PoseEstimate, matches: Correspondences
    ) -> tuple[PoseEstimate, Correspondences]:
        """Look around the pose of `first` until no more is found.

        matches: those of `first`, which stay as they are. Returns the answer and the
        correspondences that it speaks of: `matches`, or a buffer that is kept here while
        `matches` takes its place.
        """
        assert first.cam_from_world is not None
        cam_from_world = first.cam_from_world
        self._guided.forget()
        threshold = self._solver.threshold_px(camera)
        best, found = first, matches
        for look in range(LOOKS):
            room = self._spare[look % 2]
            for radius, narrowing in ((WIDE, NARROWING), (1.0, (1.0, 1.0))):
                self._guided.match(camera, cam_from_world, features, radius * threshold, room)
                again = self._solver.refine(camera, cam_from_world, room, narrowing)
                if again.cam_from_world is None:
                    return again, self._hand_out(found, matches)
                cam_from_world = again.cam_from_world
            grown = again.inliers > GROWTH * best.inliers
            best, found = again, room
            if not grown:
                break
        best = self._judge(camera, features, best, found)
        return best, self._hand_out(found, matches)

    def near(
        self,
        camera: Camera,
        features: Features,
        expected: Array,
        matches: Correspondences,
        *,
        inliers: int,
    ) -> tuple[PoseEstimate, Correspondences]:
        """Close looks around a pose that is known well; inliers: of the frame before.

        Returns as `refine` does.
        """
        radius = NEAR * self._solver.threshold_px(camera)
        keypoints = NEAR_KEYPOINTS if inliers >= ENOUGH else None
        for _ in range(LOOKS):
            self._guided.forget()
            self._guided.match(
                camera, expected, features, radius, matches, keypoints=keypoints, once=True
            )
            found = self._solver.refine(camera, expected, matches, (NEAR, 1.0, 1.0))
            if found.cam_from_world is None:
                return found, matches
            if found.inliers < max(NEAR_AGREEMENT * matches.n, KEPT * inliers):
                return found.refused("what lies close by agrees as chance would have it"), matches
            inlier = matches.xyz_world[found.inlier_index]
            moved = _pixels(camera, found.cam_from_world, inlier)
            moved -= _pixels(camera, expected, inlier)
            # Farther away a pose is drawn to where it was looked for, and so is the next one.
            if np.median(np.linalg.norm(moved, axis=1)) <= 0.5 * radius:
                return self._judge(camera, features, found, matches), matches
            expected = found.cam_from_world
        return found.refused("the pose lies far from where it was expected"), matches

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

    def _hand_out(self, found: Correspondences, matches: Correspondences) -> Correspondences:
        """What was found, for which `matches` is kept."""
        self._spare = [room for room in (matches, *self._spare) if room is not found]
        return found

    def _judge(
        self, camera: Camera, features: Features, best: PoseEstimate, matches: Correspondences
    ) -> PoseEstimate:
        """Refine once more by how well each point is known, where the map tells; then test."""
        if self._points.sigma is not None and best.cam_from_world is not None:
            best = self._solver.refine(camera, best.cam_from_world, matches, ONCE, self._points)
            if best.cam_from_world is None:
                return best
        coverage = self._guided.coverage(camera, features, matches.xy_px[best.inlier_index])
        if coverage >= self._min_coverage:
            return replace(best, refined=True)
        return best.refused(
            f"{best.inliers} inliers, but only {coverage:.0%} of the image agrees with "
            f"the pose, {self._min_coverage:.0%} are needed"
        )


def _pixels(camera: Camera, cam_from_world: Array, xyz_world: Array) -> Array:
    """Where (N,2) points (N,3) appear that lie ahead."""
    xyz = transform(cam_from_world, xyz_world)
    return camera.pixels_from_rays(xyz[:, :2] / xyz[:, 2:])
