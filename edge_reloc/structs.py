"""What flows between the stages: structs of fixed capacity, `n` valid rows.

N keypoints, D descriptor, E embedding, C candidates, M correspondences.
Buffers are taken once from the arena; a stage writes into its `out` struct,
sets `n`, and leaves a valid struct (n = 0) when it has nothing to say.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .arrays import F32, F64, I32, U8
from .errors import StaleViewError
from .geometry.camera import Camera
from .geometry.rigid import direction, motion
from .memory.arena import Arena
from .reasons import Fault, Reason


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Frame:
    """One camera image."""

    #: (H,W) grey or (H,W,3) BGR
    image: U8
    #: capture time, monotonic nanoseconds: the middle of the exposure, as well as it is known
    t_ns: int
    #: that took it; None: the camera that the localiser was opened for
    camera: Camera | None = None
    #: position in its sequence
    index: int = 0
    #: of its file, where it has one
    name: str = ""
    #: counter-clockwise, that bring the image to the map's heading, when a compass or the
    #: flight plan tells; None lets the localiser find out where the map calls for it
    quarter_turns: int | None = None
    #: counter-clockwise, that show the image upright, as its file says (EXIF, a video's
    #: rotation flag); where `quarter_turns` is None they are tried first
    upright_turns: int = 0
    #: when it was handed to us, monotonic nanoseconds; None for photos and videos
    received_ns: int | None = None
    #: what its pixels alone show to be wrong: dark, overexposed, frozen
    fault: Fault | None = None
    #: (3,) that points down in the camera's axes (x right, y down, z ahead), as an IMU knows it
    #: of a camera at rest; a pose that contradicts it is refused
    down: F64 | None = None
    #: (4,4) camera points to points of a frame that may drift, map units, as an autopilot or an
    #: odometry knows it: with a supervisor it tells where the next frame is looked for
    odom_from_cam: F64 | None = None

    @property
    def vertical(self) -> F64 | None:
        """`down` (3,) of unit length; None where it is unknown, or its sensor tells nonsense."""
        return None if self.down is None else direction(self.down)

    @property
    def odometry(self) -> F64 | None:
        """`odom_from_cam` (4,4); None where it is unknown, or its sensor tells nonsense.

        Autopilots say nan where they have lost themselves.
        """
        return None if self.odom_from_cam is None else motion(self.odom_from_cam)


class Features:
    """Keypoints of one frame, best score first.

    dim: D, 0 where the feature network gives coordinates instead of descriptors.
    """

    def __init__(
        self,
        arena: Arena,
        capacity: int,
        dim: int,
        embedding_dim: int,
        place_dim: int = 0,
        *,
        regressed: bool = False,
    ) -> None:
        #: (N,2)
        self.xy_px: F32 = arena.take("features.xy_px", (capacity, 2), np.float32)
        #: (N,)
        self.score: F32 = arena.take("features.score", (capacity,), np.float32)
        #: (N,D) of unit length
        self.descriptor: F32 = arena.take("features.descriptor", (capacity, dim), np.float32)
        #: (N,3) where in the world each lies, (0,3) where no network says that
        rows = capacity if regressed else 0
        self.xyz_world: F32 = arena.take("features.xyz_world", (rows, 3), np.float32)
        #: (E,) of unit length, E may be 0
        self.embedding: F32 = arena.take("features.embedding", (embedding_dim,), np.float32)
        #: (G,) what the feature network says of the image as a whole, G may be 0
        self.place: F32 = arena.take("features.place", (place_dim,), np.float32)
        #: (N,) of the feature network's outputs, where there is one
        self.row: I32 = arena.take("features.row", (capacity,), np.int32)
        #: that they were seen with, None where nobody said
        self.camera: Camera | None = None
        self.n = 0

    @property
    def capacity(self) -> int:
        """N."""
        return len(self.xy_px)


class Candidates:
    """Map points a frame may see; a keypoint may match only those of its own group."""

    def __init__(self, arena: Arena, capacity: int, keypoints: int) -> None:
        #: (C,) ascending
        self.point_id: I32 = arena.take("candidates.point_id", (capacity,), np.int32)
        #: (C,)
        self.group: I32 = arena.take("candidates.group", (capacity,), np.int32)
        #: (N,)
        self.query_group: I32 = arena.take("candidates.query_group", (keypoints,), np.int32)
        #: (C,) larger is likelier
        self.score: F32 = arena.take("candidates.score", (capacity,), np.float32)
        self.n = 0
        #: what capacity cut off
        self.truncated = 0

    @property
    def capacity(self) -> int:
        """C."""
        return len(self.point_id)

    def clear(self) -> None:
        """Empty, one group for everything."""
        self.n = 0
        self.truncated = 0
        self.group[:] = 0
        self.query_group[:] = 0


class Correspondences:
    """2D-3D matches."""

    def __init__(self, arena: Arena, capacity: int) -> None:
        #: (M,2)
        self.xy_px: F64 = arena.take("correspondences.xy_px", (capacity, 2), np.float64)
        #: (M,3)
        self.xyz_world: F64 = arena.take("correspondences.xyz_world", (capacity, 3), np.float64)
        #: (M,)
        self.weight: F32 = arena.take("correspondences.weight", (capacity,), np.float32)
        #: (M,) row of the features
        self.keypoint: I32 = arena.take("correspondences.keypoint", (capacity,), np.int32)
        #: (M,) -1: of no map point, as in scene coordinate regression
        self.point_id: I32 = arena.take("correspondences.point_id", (capacity,), np.int32)
        self.n = 0

    @property
    def capacity(self) -> int:
        """M at most."""
        return len(self.xy_px)


class Clock:
    """Wall time between laps, milliseconds, added to those before."""

    def __init__(self, laps: dict[str, float] | None = None) -> None:
        self.laps = dict(laps or {})
        self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        """Since the last lap, for a stage."""
        now = time.perf_counter_ns()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e-6
        self._last = now


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


class Work:
    """The buffers of the frame at hand; each of them belongs to somebody else."""

    def __init__(self, features: Features, candidates: Candidates, matches: Correspondences):
        self.features, self.candidates, self.matches = features, candidates, matches
        #: those that no pose has chosen, where they are others; None where there are none
        self.unguided: Correspondences | None = None
        self.clock = Clock()
        #: frames so far
        self.number = 0

    def begin(self, features: Features, laps: dict[str, float]) -> None:
        """The next frame, of which features were found."""
        self.features, self.clock = features, Clock(laps)
        self.candidates.n = self.matches.n = 0
        self.unguided = None
        self.number += 1


@dataclass(frozen=True, kw_only=True, eq=False)  # arrays have no one answer
class Localization:
    """What `localize` returns: the estimate, and a look at how it came about.

    features, candidates and matches are read-only views of the localiser's own buffers, valid
    until its next frame; after that they raise StaleViewError. Copy what you keep.
    """

    #: pose, covariance, status, counts and times; its own arrays, yours to keep
    estimate: PoseEstimate
    #: keypoints that the method named by numbers, such as landmarks: the best ones
    _named: int = field(default=0, repr=False)
    _work: Work | None = field(default=None, repr=False)
    _number: int = field(default=0, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is a pose that passed the gate and keeps to the alert limit."""
        return self.estimate.status is Status.OK

    @property
    def status(self) -> Status:
        """OK, or what was missing."""
        return self.estimate.status

    @property
    def reason(self) -> str | None:
        """None when OK, otherwise one line for a person."""
        return self.estimate.reason

    @property
    def cam_from_world(self) -> F64 | None:
        """(4,4), world points to camera points; None without a pose."""
        return self.estimate.cam_from_world

    @property
    def covariance(self) -> F64 | None:
        """(6,6) of [rotation rad, translation map units]; None without a pose."""
        return self.estimate.covariance

    @property
    def inliers(self) -> int:
        """Matches that agree with the pose."""
        return self.estimate.inliers

    @property
    def features(self) -> Features:
        """Keypoints and descriptors of the frame."""
        return _view(self._fresh().features, whole=("embedding", "place"))

    @property
    def candidates(self) -> Candidates:
        """Map points that were matched with it; empty where the frame was tracked."""
        return _view(self._fresh().candidates, whole=("query_group",))

    @property
    def matches(self) -> Correspondences:
        """2D-3D matches; `estimate.inlier_index` are the rows that agree."""
        return _view(self._fresh().matches)

    @property
    def keypoint_labels(self) -> I32 | None:
        """(n,) number of what each keypoint shows, below 1 for nothing; None where the method
        names nothing, or did not look.
        """
        work = self._fresh()
        if not self._named or work.candidates.n == 0:
            return None
        return self.candidates.query_group[: min(work.features.n, self._named)]

    def _fresh(self) -> Work:
        if self._work is None or self._work.number != self._number:
            raise StaleViewError(
                "features, candidates and matches are those of the last frame alone, and "
                "another one was localised since; copy what you need before"
            )
        return self._work


T = TypeVar("T", Features, Candidates, Correspondences)


def _view(struct: T, whole: tuple[str, ...] = ()) -> T:
    """The valid rows of a struct, read-only; whole: arrays with rows of their own."""
    view = copy.copy(struct)
    for name, array in vars(struct).items():
        if isinstance(array, np.ndarray):
            rows = (array if name in whole else array[: struct.n]).view()
            rows.flags.writeable = False
            setattr(view, name, rows)
    return view
