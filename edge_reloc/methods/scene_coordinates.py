"""Scene coordinates: a network says of every cell where in the world it lies, how surely.

SS-DVR (Nie et al., IJCAI 2025). The network is the map: no point or descriptor is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

from ..bundle.fields import Range
from ..bundle.manifest import Manifest, Plausibility
from ..errors import ConfigError
from ..features.spec import XYZ_WORLD, FeatureSpec
from ..settings import CommonSettings
from .judgement import Judgement
from .method import MethodStages, Network, Trainable, Variant, Wiring

if TYPE_CHECKING:
    from ..bundle.reader import MapBundle
    from ..inference.engines import Engines
    from ..stages import Registration

# At a wrong heading most cells may agree, at the right one nearly all.
SHARE_OF_LAST_INLIERS = 0.9


@dataclass(frozen=True, kw_only=True)
class TrainedSceneCoordinates:
    """The method in a bundle."""

    #: the network, which brings its own keypoints
    features: FeatureSpec
    #: reprojection error of an inlier at 640 pixels width
    threshold_px: Annotated[float, Range(above=0, at_most=1000)]
    #: of all cells, that a pose must reach
    min_inlier_ratio: Annotated[float, Range(at_least=0, at_most=1)]
    #: of the surest quarter of the cells, that a pose must reach
    min_surest_ratio: Annotated[float, Range(at_least=0, at_most=1)] = 0.5
    #: standard deviation of a pose's rotation
    max_rotation_std_deg: Annotated[float, Range(above=0, at_most=180)] = 1.0
    #: feature network that its encoder is of
    encoder: str = ""
    #: share of the cells that it gives
    kept: float = 1.0
    #: what it was trained with
    preset: str | None = None
    iterations: int | None = None
    #: how it finds mapping photos again, None of a map that was made before that was asked
    judged: Judgement | None = None


class SceneCoordinates(Trainable[TrainedSceneCoordinates]):
    """Regressed correspondences, solved."""

    name = "scene_coordinates"
    summary = "a network says of every cell where it lies and how surely"
    kind = TrainedSceneCoordinates
    variants = (Variant(name=name, shown=(name,)),)

    def networks(self, manifest: Manifest) -> Iterator[Network]:
        """One an image size."""
        trained = self.trained(manifest)
        for network in trained.features.networks if trained else ():
            yield Network(
                role=self.name,
                file=network.file,
                size=(network.width, network.height),
                encoder=trained.encoder if trained else None,
                world_output=XYZ_WORLD,
            )

    def judgement(self, manifest: Manifest) -> Judgement | None:
        """Of the network."""
        trained = self.trained(manifest)
        return trained.judged if trained else None

    def scale_lengths(self, manifest: Manifest, factor: float) -> None:
        """The error that was measured on mapping photos."""
        trained = self.trained(manifest)
        judged = trained.judged if trained else None
        if trained is not None and judged is not None and judged.median_error is not None:
            judged = replace(judged, median_error=judged.median_error * factor)
            self.record(manifest, replace(trained, judged=judged))

    def open(self, bundle: MapBundle, engines: Engines, settings: CommonSettings) -> MethodStages:
        """Needs the trained network; ConfigError for what asks for descriptors."""
        if settings.second_pass or settings.tracking:
            asked = "second pass" if settings.second_pass else "tracking"
            raise ConfigError(
                f"method {self.name}: has no {asked}, which needs the descriptors of a map; "
                f"leave it out, or choose another method"
            )
        trained = self.opened(bundle)
        usual = trained.judged.usual if trained.judged else None
        return MethodStages(
            plausibility=Plausibility(first=usual, refined=usual) if usual else None,
            registration=partial(_regression, trained.min_surest_ratio),
            features=trained.features,
            threshold_px=trained.threshold_px,
            min_inlier_ratio=trained.min_inlier_ratio,
            weighted=True,
            max_rotation_std_deg=trained.max_rotation_std_deg,
            share_of_last_inliers=SHARE_OF_LAST_INLIERS,
        )


def _regression(min_surest_ratio: float, wiring: Wiring) -> Registration:
    from ..matching.regressed import SceneCoordinates as Regressed
    from ..pose.registration import Regression

    return Regression(Regressed(), wiring.solver, min_surest_ratio)
