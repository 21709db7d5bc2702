"""What a method is: all that is its own, in one object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..bundle.fields import read_fields
from ..bundle.layout import float16_file
from ..bundle.manifest import Manifest, Plausibility, without_none
from ..errors import BundleError
from ..settings import CommonSettings
from .judgement import Judgement

if TYPE_CHECKING:
    from ..bundle.points import PointMap
    from ..bundle.reader import MapBundle
    from ..features.spec import FeatureSpec
    from ..inference.engines import Engines
    from ..memory.arena import Arena
    from ..pose.second_pass import SecondPass
    from ..pose.solver import PoseSolver
    from ..stages import Embedder, Matcher, Recogniser, Registration, Retriever

S = TypeVar("S", bound=CommonSettings)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to run a method, under the name that tables and reports give it."""

    name: str
    #: settings that make it, beside `method`
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: the setting that N sets in `name:N`
    counted: str = "candidates"
    #: as the table of `evaluate` shows it unasked; the last is the variant at its best
    shown: tuple[str, ...] = ()
    #: settings under which nothing but `candidates` limits what is retrieved, for retrieval
    #: curves; None where there is no such curve
    unlimited: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of a bundle."""

    #: the feature networks' is "features", others': their variant's name
    role: str
    #: float32 file as the bundle lists it
    file: str
    #: width, height in pixels of the image that it takes, None where it takes none
    size: tuple[int, int] | None = None
    #: feature network that it holds as its encoder
    encoder: str | None = None
    #: output of places (·,3) in the world, None where it has none
    world_output: str | None = None

    @property
    def float16_file(self) -> str:
        """Name of the float16 version, whether or not it exists."""
        return float16_file(self.file)


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The stages that a registration strategy may ask, and where it takes memory."""

    settings: CommonSettings
    arena: Arena
    matcher: Matcher | None
    solver: PoseSolver
    #: None where it was not asked for, or the map has no points
    second_pass: SecondPass | None
    #: whether it follows every first pose
    refines: bool
    threshold_px: float
    #: candidates and keypoints at most
    capacity: int
    keypoints: int


@dataclass(frozen=True, kw_only=True)
class MethodStages:
    """What a method adds to the common line."""

    #: makes the registration strategy when all stages are there
    registration: Callable[[Wiring], Registration]
    #: None where correspondences are regressed
    retriever: Retriever | None = None
    embedder: Embedder | None = None
    #: what names keypoints and points by numbers, for pictures and reports
    recogniser: Recogniser | None = None
    #: of the map, None where networks hold the map
    points: PointMap | None = None
    #: candidates at most
    capacity: int = 1
    #: local features of its own instead of the map's
    features: FeatureSpec | None = None
    #: whether the strategy needs the second pass even where it is not asked for
    needs_second_pass: bool = False
    #: reprojection error of an inlier at 640 pixels width
    threshold_px: float = 8.0
    #: that its poses must reach, where the gate asks for less
    min_inlier_ratio: float = 0.0
    #: whether matches count by their weight in the refinement of a pose
    weighted: bool = False
    #: that its poses may have, where the gate allows more
    max_rotation_std_deg: float = 180.0
    #: what its right poses show, None where the map says that of all methods
    plausibility: Plausibility | None = None
    #: of the last frame's inliers, at which a turned map's other headings are not tried
    share_of_last_inliers: float = 0.5


class Method(ABC):
    """One way to localise. Adding one is a file with one of these, and a line in the table."""

    name: str
    #: what it does, in a few words
    summary: str
    variants: tuple[Variant, ...]

    @abstractmethod
    def open(self, bundle: MapBundle, engines: Engines, settings: Any) -> MethodStages:
        """Its stages for a bundle. BundleError where that was not trained for it."""

    def variants_in(self, manifest: Manifest) -> tuple[Variant, ...]:
        """Those that a bundle can run; all of them where nothing is to be trained."""
        return self.variants

    def networks(self, manifest: Manifest) -> Iterator[Network]:
        """Its networks in a bundle."""
        return iter(())

    def settings(self, variant: Variant, base: S, **more: Any) -> S:
        """The settings that run a variant."""
        return replace(base, method=self.name, **{**variant.settings, **more})

    def scale_candidates(self, manifest: Manifest, share: float) -> None:  # noqa: B027
        """Of a map that kept this share of its points; most methods were told no number."""

    def scale_lengths(self, manifest: Manifest, factor: float) -> None:  # noqa: B027
        """Of a map whose unit became smaller by this factor; most methods know no length."""

    def judgement(self, manifest: Manifest) -> Judgement | None:
        """How what was trained finds mapping photos again, where that is known."""
        return None

    def keep_only(self, manifest: Manifest, settings: Any) -> None:
        """Take out of a manifest what other methods and variants were told."""
        own = manifest.methods.get(self.name)
        manifest.method, manifest.methods = self.name, {} if own is None else {self.name: own}


class Trainable(Method, Generic[T]):
    """A method that a bundle must be trained for; T: what the bundle then knows of it."""

    kind: type[T]

    def trained(self, manifest: Manifest, where: str = "manifest.json") -> T | None:
        """What the bundle knows of it; None before training. Raises BundleError."""
        values = manifest.methods.get(self.name)
        if values is None:
            return None
        return read_fields(self.kind, values, f"{where}: methods['{self.name}']", lenient=True)

    def opened(self, bundle: MapBundle) -> T:
        """The same; BundleError with the cure before training."""
        trained = self.trained(bundle.manifest, str(bundle.directory))
        if trained is None:
            raise BundleError(
                f"{bundle.directory}: has no trained {self.name.replace('_', ' ')}; train it with "
                f"'edge-reloc train --method {self.name} --map {bundle.directory}'"
            )
        return trained

    def record(self, manifest: Manifest, trained: T) -> None:
        """Say in a manifest what was trained."""
        values: dict[str, Any] = asdict(trained, dict_factory=without_none)  # type: ignore[call-overload]
        manifest.methods[self.name] = values

    def variants_in(self, manifest: Manifest) -> tuple[Variant, ...]:
        """All of them, once it is trained."""
        return self.variants if self.name in manifest.methods else ()
