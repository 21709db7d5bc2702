"""Registration landmark by landmark: the surest first, until one gives a pose.

PRAM, section 3.4, algorithm 1; its step 2, refinement with covisible points, is the second
pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..geometry.camera import Camera
from ..memory.arena import Arena
from ..settings import Gate
from ..stages import Matcher, Refiner
from ..structs import Candidates, Correspondences, Features, PoseEstimate, Status, Work
from .solver import PoseSolver

# A landmark fills a part of the image only: what the gate asks of a whole frame is asked
# after refinement, which sees more of it.
MIN_INLIERS, MIN_SPREAD, MAX_ROTATION_STD_DEG = 10, 1, 15.0


class LandmarkWise:
    """Poses from one landmark at a time; the first that holds around it counts.

    capacity: candidates at most. keypoints: of a frame.
    """

    def __init__(
        self,
        matcher: Matcher,
        refiner: Refiner,
        arena: Arena,
        gate: Gate,
        *,
        seed: int,
        threshold_px: float,
        capacity: int,
        keypoints: int,
    ) -> None:
        self._matcher, self._refiner = matcher, refiner
        self._one = Candidates(arena, capacity, keypoints)
        gate = replace(
            gate,
            min_inliers=MIN_INLIERS,
            min_spread=MIN_SPREAD,
            max_rotation_std_deg=MAX_ROTATION_STD_DEG,
        )
        self._solver = PoseSolver(threshold_px=threshold_px, gate=gate, seed=seed)

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """The first landmark whose pose holds around it, too; else what the last one gave."""
        for first in self._poses(camera, work.features, work.candidates, work.matches):
            work.clock.lap("solve")
            estimate = first
            if first.cam_from_world is None:
                continue
            estimate, work.matches = self._refiner.around(
                camera, work.features, first.cam_from_world, work.matches
            )
            work.clock.lap("second_pass")
            if estimate.status is Status.OK:
                break
        return estimate

    def _poses(
        self, camera: Camera, features: Features, candidates: Candidates, out: Correspondences
    ) -> Iterator[PoseEstimate]:
        """What each landmark says, by falling confidence; `out` holds its matches.

        At least one estimate: where nothing was recognised, one without a pose.
        """
        group, score = candidates.group[: candidates.n], candidates.score[: candidates.n]
        landmarks, first = np.unique(group, return_index=True)
        if len(landmarks) == 0:
            out.n = 0
            yield PoseEstimate(
                t_ns=0,
                status=Status.NO_MATCHES,
                reason="no landmark was recognised: the map does not know this view",
            )
        one = self._one
        for landmark in landmarks[np.argsort(-score[first], kind="stable")]:
            rows = np.flatnonzero(group == landmark)
            n = one.n = len(rows)
            one.point_id[:n], one.group[:n] = candidates.point_id[rows], landmark
            one.query_group[:] = candidates.query_group
            self._matcher.match(features, one, out)
            yield self._solver.solve(camera, out)
