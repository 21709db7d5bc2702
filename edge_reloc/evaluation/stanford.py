"""Errors against protection levels, counted: the Stanford diagram in numbers.

Tossaint et al., The Stanford - ESA integrity diagram, ION GNSS 2007.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import exp, lgamma, log, log1p

from ..structs import PoseEstimate, Status
from .claims import Claim

CONFIDENCE = 0.95


class Outcome(str, Enum):
    """What became of a frame."""

    #: every error is below its level, and the levels of the position below the alert limit
    NOMINAL = "nominal"
    #: an error is above its level
    MISLEADING = "misleading"
    #: and the position's is above the alert limit, too
    HAZARDOUS = "hazardous"
    #: a level of the position is above the alert limit
    UNAVAILABLE = "unavailable"
    #: without levels: of a map without metre or vertical
    UNLEVELLED = "no level"
    NO_POSE = "no pose"


MISLEADS = (Outcome.MISLEADING, Outcome.HAZARDOUS)


def outcome_of(estimate: PoseEstimate, claim: Claim | None, alert_limit_m: float | None) -> Outcome:
    """claim: None where no pose is right, so that every error is infinite."""
    if estimate.cam_from_world is None:
        return Outcome.NO_POSE
    if estimate.hpl_m is None:
        return Outcome.UNLEVELLED
    if estimate.status is Status.DEGRADED:
        return Outcome.UNAVAILABLE
    if claim is not None and not claim.misleading:
        return Outcome.NOMINAL
    limit = float("inf") if alert_limit_m is None else alert_limit_m
    away = float("inf") if claim is None or claim.error is None else max(claim.error[:2])
    return Outcome.HAZARDOUS if away > limit else Outcome.MISLEADING


@dataclass(frozen=True, kw_only=True)
class Stanford:
    """Counts of outcomes.

    A photo in a case is one independent try, however many frames show it.
    """

    #: by outcome, frames
    frames: dict[Outcome, int]
    #: different photos of different cases that may mislead, and those of them that do
    independent: int
    misleading: int

    @staticmethod
    def of(tries: Iterable[tuple[str, int, Outcome]]) -> Stanford:
        """Count (case, number of the photo, outcome) of every frame."""
        seen = list(tries)
        counted = [(case, photo, o) for case, photo, o in seen if o is not Outcome.UNLEVELLED]
        return Stanford(
            frames=dict(Counter(outcome for *_, outcome in seen)),
            independent=len({(case, photo) for case, photo, _ in counted}),
            misleading=len({(case, photo) for case, photo, o in counted if o in MISLEADS}),
        )

    @property
    def at_most(self) -> float:
        """Upper end of the 95 % confidence interval of the share that misleads."""
        return upper_bound(self.misleading, self.independent)

    def to_json(self) -> dict[str, float]:
        """JSON-ready dictionary."""
        return {
            **{outcome.value: self.frames.get(outcome, 0) for outcome in Outcome},
            "independent": self.independent,
            "independent misleading": self.misleading,
            "at most": self.at_most,
        }


def together(parts: Iterable[Stanford]) -> Stanford:
    """Of different photos."""
    known = list(parts)
    frames = sum((Counter(part.frames) for part in known), Counter[Outcome]())
    return Stanford(
        frames=dict(frames),
        independent=sum(part.independent for part in known),
        misleading=sum(part.misleading for part in known),
    )


def upper_bound(events: int, tries: int) -> float:
    """One-sided, of a binomial share (Clopper and Pearson, Biometrika, 1934).

    Without events it is nearly 3 in `tries`.
    """
    low, high = 0.0, 1.0
    if events >= tries:
        return high
    for _ in range(60):
        share = 0.5 * (low + high)
        likely = _at_most(events, tries, share) > 1.0 - CONFIDENCE
        low, high = (share, high) if likely else (low, share)
    return high


def _at_most(events: int, tries: int, share: float) -> float:
    """Chance of so many events or fewer, where each try has one with the chance `share`."""
    ways = (lgamma(tries + 1) - lgamma(k + 1) - lgamma(tries - k + 1) for k in range(events + 1))
    return sum(
        exp(way + k * log(share) + (tries - k) * log1p(-share)) for k, way in enumerate(ways)
    )
