"""Maps of turned photos: which way to turn a frame that does not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..structs import Frame, PoseEstimate, Status


class QuarterTurnSearch:
    """The quarter turns that worked last, and how many matches agreed then.

    They are counted from upright as the frame's file says it, so that a phone's photos and
    videos count as one heading however it was held. A file that says nothing, or is wrong,
    costs attempts and no pose.

    Some methods also find poses, worse ones, at a wrong heading: one that fits is only taken
    at once if about as much agrees as before. share_of_last: of the last
    frame's inliers, that is enough.
    """

    def __init__(self, share_of_last: float) -> None:
        self.quarter_turns = 0
        self._share_of_last = share_of_last
        self._inliers = math.inf

    def localize(self, frame: Frame, attempt: Callable[[Frame], PoseEstimate]) -> PoseEstimate:
        """The best of up to four attempts, the last one made; its times are of all of them."""
        tried: dict[int, PoseEstimate] = {}
        laps: dict[str, float] = {}
        for more in range(4):
            turns = (frame.upright_turns + self.quarter_turns + more) % 4
            estimate = tried[turns] = attempt(replace(frame, quarter_turns=turns))
            laps = _added(laps, estimate.stages_ms)
            enough = estimate.inliers >= self._share_of_last * self._inliers
            if estimate.status is Status.NO_FEATURES or (_found(estimate) and enough):
                break
        best = max(tried, key=lambda t: (_found(tried[t]), tried[t].inliers))
        if best != turns and _found(tried[best]):
            # Again, so that the features and matches at hand are its own.
            estimate = attempt(replace(frame, quarter_turns=best))
            laps = _added(laps, estimate.stages_ms)
        if _found(estimate):
            self.quarter_turns = (best - frame.upright_turns) % 4
            self._inliers = estimate.inliers
        return replace(estimate, stages_ms=laps)

    def recall(self) -> dict[str, Any]:
        """What `resume` takes."""
        inliers = None if math.isinf(self._inliers) else self._inliers
        return {"quarter_turns": self.quarter_turns, "inliers": inliers}

    def resume(self, recalled: Mapping[str, Any]) -> None:
        """As after the frames that were recalled. Raises ValueError, TypeError, KeyError."""
        self.quarter_turns = int(recalled["quarter_turns"]) % 4
        inliers = recalled["inliers"]
        self._inliers = math.inf if inliers is None else int(inliers)


def _found(estimate: PoseEstimate) -> bool:
    return estimate.status in (Status.OK, Status.DEGRADED)


def _added(laps: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    """Stage times of two attempts."""
    return {stage: laps.get(stage, 0.0) + more.get(stage, 0.0) for stage in {**laps, **more}}
