"""Landmarks: a transformer names what every keypoint shows, matching stays within the name.

PRAM (Xue, Budvytis and Cipolla).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from ..bundle.fields import Range
from ..bundle.manifest import Manifest
from ..errors import ConfigError
from ..settings import CommonSettings, setting
from .method import MethodStages, Network, Trainable, Variant, Wiring
from .one_pass import one_pass

if TYPE_CHECKING:
    from ..bundle.reader import MapBundle
    from ..inference.engines import Engines
    from ..stages import Registration

ONE_PASS, LANDMARK_WISE = "one_pass", "landmark_wise"
EVERY_LANDMARK = 1 << 30


@dataclass(frozen=True, kw_only=True)
class LandmarkSettings(CommonSettings):
    """What is this method's alone."""

    landmarks: int | None = setting(
        None, "how many of those recognised are tried at most", at_least=1, group="landmarks"
    )
    registration: str | None = setting(
        None,
        "all landmarks matched and one pose solved, or one after the other, as published",
        choices=(ONE_PASS, LANDMARK_WISE),
        group="landmarks",
    )


@dataclass(frozen=True, kw_only=True)
class TrainedLandmarks:
    """The method in a bundle."""

    network: str
    #: landmarks a frame at most
    most: Annotated[int, Range(at_least=1)]
    registration: str
    second_pass: bool = False
    #: what it was trained with
    preset: str | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        if self.registration not in (ONE_PASS, LANDMARK_WISE):
            raise ConfigError(
                f"registration is '{self.registration}', expected {ONE_PASS} or {LANDMARK_WISE}"
            )


class Landmarks(Trainable[TrainedLandmarks]):
    """Points of the recognised landmarks, each a group that matches within itself."""

    name = "landmarks"
    summary = "a transformer labels every keypoint with a landmark of the map"
    kind = TrainedLandmarks
    variants = (
        Variant(
            name=name,
            settings={"registration": ONE_PASS},
            counted="landmarks",
            shown=(name, f"{name}+2"),
            unlimited={"landmarks": EVERY_LANDMARK},
        ),
        Variant(name=LANDMARK_WISE, settings={"registration": LANDMARK_WISE}, counted="landmarks"),
    )

    def networks(self, manifest: Manifest) -> Iterator[Network]:
        """The recogniser."""
        trained = self.trained(manifest)
        if trained is not None:
            yield Network(role=self.name, file=trained.network)

    def open(self, bundle: MapBundle, engines: Engines, settings: LandmarkSettings) -> MethodStages:
        """Needs the trained recogniser."""
        from ..bundle.points import open_points
        from ..retrieval.landmarks import LandmarkRetriever, open_landmarks

        points = open_points(bundle)
        trained = self.opened(bundle)
        landmarks = open_landmarks(bundle)
        most = settings.landmarks or trained.most
        engine = engines.open(trained.network)
        retriever = LandmarkRetriever(landmarks, engine, most=most, dim=points.dim)
        one_by_one = (settings.registration or trained.registration) == LANDMARK_WISE
        return MethodStages(
            registration=_landmark_wise if one_by_one else one_pass,
            retriever=retriever,
            recogniser=retriever,
            points=points,
            capacity=min(settings.candidates or points.n, landmarks.largest(most)),
            needs_second_pass=one_by_one,
        )


def _landmark_wise(wiring: Wiring) -> Registration:
    from ..pose.landmark_wise import LandmarkWise

    assert wiring.matcher is not None and wiring.second_pass is not None
    return LandmarkWise(
        wiring.matcher,
        wiring.second_pass,
        wiring.arena,
        wiring.settings,
        seed=wiring.settings.seed,
        threshold_px=wiring.threshold_px,
        capacity=wiring.capacity,
        keypoints=wiring.keypoints,
    )
