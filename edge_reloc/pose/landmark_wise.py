"""Registration landmark by landmark: the surest first, until one gives a pose.

PRAM, section 3.4, algorithm 1; its step 2, refinement with covisible points, is the second
pass. `LandmarkWise` is ours, `PublishedLandmarkWise` believes a pose as the paper does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np

from ..geometry.camera import Camera
from ..memory.arena import Arena
from ..settings import Gate
from ..stages import Matcher, Refiner
from ..structs import Candidates, Correspondences, Features, PoseEstimate, Status, Work
from .solver import PoseSolver


class _LandmarkByLandmark:
    """What each landmark says alone. capacity: candidates at most; keypoints: of a frame."""

    #: asked of a landmark's pose instead of what the gate asks of a whole frame: it fills a part
    #: of the image only, and refinement sees more
    OWN_GATE: ClassVar[dict[str, float]]

    def __init__(
        self,
        matcher: Matcher,
        refiner: Refiner | None,
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
        gate = replace(gate, **self.OWN_GATE)  # type: ignore[arg-type]
        self._solver = PoseSolver(threshold_px=threshold_px, gate=gate, seed=seed)

    def _poses(
        self, camera: Camera, features: Features, candidates: Candidates, out: Correspondences
    ) -> Iterator[PoseEstimate]:
        """What each landmark says, by falling score; `out` holds its matches.

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


class LandmarkWise(_LandmarkByLandmark):
    """Poses from one landmark at a time; the first that holds around it counts.

    Needs a refiner.
    """

    OWN_GATE: ClassVar[dict[str, float]] = {
        "min_inliers": 10,
        "min_spread": 1,
        "max_rotation_std_deg": 15.0,
    }

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """The first landmark whose pose holds around it, too; else what the last one gave."""
        assert self._refiner is not None
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


class PublishedLandmarkWise(_LandmarkByLandmark):
    """Algorithm 1: the first landmark with enough inliers is believed, and refined once.

    How many are enough, the paper's lambda_i, is the gate's; nothing else is asked. Without a
    refiner only step 1 is taken, which the paper calls tracking.
    """

    OWN_GATE: ClassVar[dict[str, float]] = {
        "min_inlier_ratio": 0.0,
        "min_spread": 1,
        "max_rotation_std_deg": 180.0,
    }

    def register(self, camera: Camera, work: Work) -> PoseEstimate:
        """The pose of the first landmark with enough inliers; else what the last one gave."""
        for estimate in self._poses(camera, work.features, work.candidates, work.matches):
            work.clock.lap("solve")
            if estimate.cam_from_world is not None:
                break
        if estimate.cam_from_world is not None and self._refiner is not None:
            estimate, work.matches = self._refiner.refine(
                camera, work.features, estimate, work.matches
            )
            work.clock.lap("second_pass")
        return estimate
