"""Why a frame, a stream or a pose is not to be trusted: codes for programs, a line for people."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """What is wrong, as a program may act on it."""

    #: the image shows nothing bright
    DARK = "DARK"
    #: most of the image is as white as it can be
    OVEREXPOSED = "OVEREXPOSED"
    #: the image is smeared or out of focus
    BLURRED = "BLURRED"
    #: the camera sends the same pixels again and again
    FROZEN = "FROZEN"
    #: the image shows too little to recognise a place by
    FEW_FEATURES = "FEW_FEATURES"
    #: the camera is where the map knows nothing
    OUTSIDE_MAP = "OUTSIDE_MAP"
    #: the tile of the map that the image may show is being loaded
    NOT_LOADED = "NOT_LOADED"
    #: too little of what is seen agrees with the map
    FEW_MATCHES = "FEW_MATCHES"
    #: a pose was found and refused by the gate
    IMPLAUSIBLE = "IMPLAUSIBLE"
    #: the pose is far from where the last ones lead
    JUMP = "JUMP"
    #: the error may be larger than is allowed
    UNCERTAIN = "UNCERTAIN"
    #: no camera or stream delivers; it is being opened again
    CAMERA_GONE = "CAMERA_GONE"
    #: frames or poses stopped coming a moment ago
    STALE = "STALE"
    #: a pose that no independent one has agreed with yet
    UNCONFIRMED = "UNCONFIRMED"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, in words, and since when."""

    reason: Reason
    #: one line for a person
    text: str
    #: monotonic nanoseconds
    since_ns: int
