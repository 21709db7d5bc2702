"""Landmarks: a transformer names what every keypoint shows, matching stays within the name.

PRAM (Xue, Budvytis and Cipolla).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

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

ONE_PASS, LANDMARK_WISE, PUBLISHED = "one_pass", "landmark_wise", "published"
REGISTRATIONS = (ONE_PASS, LANDMARK_WISE, PUBLISHED)
EVERY_LANDMARK = 1 << 30
# PRAM, section 4: lambda_c and lambda_i in rooms (7-Scenes, 12-Scenes). Cambridge has 20 and
# 128, Aachen 50 and 128.
PAPER_TRIED, PAPER_INLIERS = 20, 64


@dataclass(frozen=True, kw_only=True)
class LandmarkSettings(CommonSettings):
    """What is this method's alone."""

    landmarks: int | None = setting(
        None, "how many of those recognised are tried at most", at_least=1, group="landmarks"
    )
    registration: str | None = setting(
        None,
        "all landmarks matched and one pose solved, or one landmark after the other until a "
        "pose holds around it, or as published (PRAM, algorithm 1)",
        choices=REGISTRATIONS,
        group="landmarks",
    )
    landmark_inliers: int | None = setting(
        None,
        "inliers with which a landmark's pose is believed, where registration is as published",
        at_least=6,
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
    #: with which a landmark's pose is believed, where registration is as published
    min_inliers: Annotated[int, Range(at_least=6)] = PAPER_INLIERS
    #: what it was trained with
    preset: str | None = None
    iterations: int | None = None

    def __post_init__(self) -> None:
        if self.registration not in REGISTRATIONS:
            raise ConfigError(
                f"registration is '{self.registration}', expected one of {', '.join(REGISTRATIONS)}"
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
        Variant(
            name="landmarks_published", settings={"registration": PUBLISHED}, counted="landmarks"
        ),
    )

    def networks(self, manifest: Manifest) -> Iterator[Network]:
        """The recogniser."""
        trained = self.trained(manifest)
        if trained is not None:
            yield Network(role=self.name, file=trained.network)

    def open(self, bundle: MapBundle, engines: Engines, settings: LandmarkSettings) -> MethodStages:
        """Needs the trained recogniser."""
        from ..bundle.points import open_points
        from ..retrieval.landmarks import LandmarkRetriever, Order, open_landmarks
        from ..retrieval.reference_frames import seen_by_reference_frames

        points = open_points(bundle)
        trained = self.opened(bundle)
        landmarks = open_landmarks(bundle)
        most = settings.landmarks or trained.most
        engine = engines.open(trained.network)
        how = settings.registration or trained.registration
        if how == PUBLISHED:
            landmarks = seen_by_reference_frames(bundle, points, landmarks)
        order = Order.MEAN if how == PUBLISHED else Order.SUM
        retriever = LandmarkRetriever(landmarks, engine, most=most, dim=points.dim, order=order)
        registration: Callable[[Wiring], Registration] = one_pass
        if how == LANDMARK_WISE:
            registration = _landmark_wise
        elif how == PUBLISHED:
            inliers = settings.landmark_inliers or trained.min_inliers
            registration = partial(_published, min_inliers=inliers)
        return MethodStages(
            registration=registration,
            retriever=retriever,
            recogniser=retriever,
            points=points,
            capacity=min(settings.candidates or points.n, max(landmarks.largest(most), 1)),
            needs_second_pass=how == LANDMARK_WISE,
        )


def _landmark_wise(wiring: Wiring) -> Registration:
    from ..pose.landmark_wise import LandmarkWise

    assert wiring.matcher is not None and wiring.second_pass is not None
    return LandmarkWise(
        wiring.matcher, wiring.second_pass, wiring.arena, wiring.settings, **_sizes(wiring)
    )


def _published(wiring: Wiring, *, min_inliers: int) -> Registration:
    from ..pose.landmark_wise import PublishedLandmarkWise

    assert wiring.matcher is not None
    return PublishedLandmarkWise(
        wiring.matcher,
        wiring.second_pass if wiring.refines else None,
        wiring.arena,
        replace(wiring.settings, min_inliers=min_inliers),
        **_sizes(wiring),
    )


def _sizes(wiring: Wiring) -> dict[str, Any]:
    return {
        "seed": wiring.settings.seed,
        "threshold_px": wiring.threshold_px,
        "capacity": wiring.capacity,
        "keypoints": wiring.keypoints,
    }
