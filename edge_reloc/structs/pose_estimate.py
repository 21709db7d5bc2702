"""The answer for one frame, and the words that say what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

from ..arrays import F64, I32
from ..reasons import Reason


class Status(str, Enum):
    """Whether a frame was localised; only OK and DEGRADED carry a pose."""

    #: there is a pose, and it passed the gate
    OK = "OK"
    #: there is a pose that passed the gate, and its protection level exceeds the alert limit
    DEGRADED = "DEGRADED"
    #: the image shows too little: dark, blurred, blank
    NO_FEATURES = "NO_FEATURES"
    #: the image is fine, the map does not know it
    NO_MATCHES = "NO_MATCHES"
    #: matches agree on no camera position
    NO_POSE = "NO_POSE"
    #: a pose was found and refused by the gate
    IMPLAUSIBLE = "IMPLAUSIBLE"
    #: of a map of tiles: none that is in memory knows the image, and another is being loaded
    NOT_LOADED = "NOT_LOADED"


class State(str, Enum):
    """What a stream of frames has come to; only TRACKING and DEGRADED give poses."""

    #: no pose was confirmed yet
    SEARCHING = "SEARCHING"
    #: poses follow on one another
    TRACKING = "TRACKING"
    #: poses are doubtful, or failed a moment ago
    DEGRADED = "DEGRADED"
    #: it is not known where the camera is
    LOST = "LOST"


class Evidence(NamedTuple):
    """What the inliers of a pose show of its being right; a map knows what is usual."""

    #: logarithm of the root mean square, in inlier thresholds, of the residuals that another
    #: camera would explain and no pose
    explained: float
    #: how unlike the keypoints the inliers spread over the image: their Kullback-Leibler
    #: divergence over its parts, nats
    concentration: float


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class PoseEstimate:
    """The answer for one frame."""

    #: capture time of the frame, monotonic nanoseconds
    t_ns: int
    #: whether there is a pose, else why not
    status: Status
    #: None when OK, otherwise one line for a person
    reason: str | None = None
    #: (4,4), world points to camera points; None unless status is OK or DEGRADED
    cam_from_world: F64 | None = None
    #: (6,6) of [rotation rad, translation map units] for the left perturbation
    #: true = Exp(delta) @ cam_from_world; None without a pose
    covariance: F64 | None = None
    #: horizontal and vertical distance in metres and heading in degrees that the error exceeds
    #: with the integrity risk at most; None where the map has no metre or no vertical
    hpl_m: float | None = None
    vpl_m: float | None = None
    ypl_deg: float | None = None
    #: chance that the pose is right, 0 to 1; None without a pose
    p_right: float | None = None
    #: what that rests on
    evidence: Evidence | None = None
    #: whether the second pass confirmed the pose
    refined: bool = False
    #: matches that agree with the pose
    inliers: int = 0
    #: between keypoints and map points, or regressed
    matches: int = 0
    #: map points that were matched with the frame
    candidates: int = 0
    #: found in the frame
    keypoints: int = 0
    #: rows of the matches that agree
    inlier_index: I32 | None = None
    #: of the frame
    index: int = 0
    #: of the frame
    name: str = ""
    #: wall time by stage, milliseconds
    stages_ms: dict[str, float] = field(default_factory=dict)
    #: whether it was found around the pose that was expected, without a search of the map
    tracked: bool = False
    #: of the stream; None where nobody watches over it, such as for photos
    state: State | None = None
    #: why that is not TRACKING, or why the pose is not used
    state_reason: Reason | None = None
    #: counts the jumps of the stream's poses that were confirmed
    reset_counter: int = 0
    #: from capture to output, milliseconds; None for photos and videos
    age_ms: float | None = None
    #: when the frame was handed to us, monotonic nanoseconds; None for photos and videos
    received_ns: int | None = None
    #: whether the pose follows from motion alone: there is no frame at `t_ns`
    propagated: bool = False
    #: of a rig, whose camera it is; None where there is one
    camera: str | None = None
    #: (4,4), world points to points of the camera's body; None where the mount is not known
    body_from_world: F64 | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a pose to use: OK, and not withheld by the state of its stream."""
        return self.status is Status.OK and self.cam_from_world is not None

    def withheld(self) -> PoseEstimate:
        """The same status without the pose, which the state of its stream does not allow."""
        return replace(self.refused(""), status=self.status, reason=self.reason)

    def refused(self, reason: str) -> PoseEstimate:
        """The same without its pose and what was claimed of it; reason: one line."""
        return replace(
            self,
            status=Status.IMPLAUSIBLE,
            reason=reason,
            cam_from_world=None,
            covariance=None,
            hpl_m=None,
            vpl_m=None,
            ypl_deg=None,
            p_right=None,
        )

    def to_json(self) -> dict[str, Any]:
        """One line of `--output poses.jsonl`, the contract with other tools."""
        line = {
            "frame": self.index,
            "name": self.name,
            "t_ns": self.t_ns,
            "received_ns": self.received_ns,
            "age_ms": None if self.age_ms is None else round(self.age_ms, 3),
            "status": self.status.value,
            "reason": self.reason,
            "state": None if self.state is None else self.state.value,
            "state_reason": None if self.state_reason is None else self.state_reason.value,
            "reset_counter": self.reset_counter,
            "propagated": self.propagated,
            "tracked": self.tracked,
            "cam_from_world": None if self.cam_from_world is None else self.cam_from_world.tolist(),
            "covariance": None if self.covariance is None else self.covariance.tolist(),
            "hpl_m": self.hpl_m,
            "vpl_m": self.vpl_m,
            "ypl_deg": self.ypl_deg,
            "p_right": None if self.p_right is None else round(self.p_right, 4),
            "inliers": self.inliers,
            "candidates": self.candidates,
            "stages_ms": {stage: round(ms, 3) for stage, ms in self.stages_ms.items()},
        }
        body = self.body_from_world
        if self.camera is not None:
            line["camera"] = self.camera
        if self.camera is not None or body is not None:
            line["body_from_world"] = None if body is None else body.tolist()
        return line
