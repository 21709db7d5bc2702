"""Visible structure retrieval: what may be seen from here, asked of a small network.

ViSiR (Zangeneh et al., BMVC 2025, arXiv 2511.12503). Head `generative` is the published
one; head `cells` asks the same discriminatively.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from ..bundle.fields import Range
from ..bundle.manifest import Manifest
from ..errors import BundleError
from ..settings import CommonSettings, setting
from .method import MethodStages, Network, Trainable, Variant
from .one_pass import one_pass

if TYPE_CHECKING:
    from ..bundle.points import PointMap
    from ..bundle.reader import MapBundle
    from ..inference.engines import Engines
    from ..stages import Retriever

GENERATIVE, CELLS = "generative", "cells"
POINTS = "points"  # what the generative head answers
WHOLE_WORLD = 1e9  # a radius that leaves no point out
Length = Annotated[float, Range(at_least=1e-6, at_most=WHOLE_WORLD)]


@dataclass(frozen=True, kw_only=True)
class VisibleStructureSettings(CommonSettings):
    """What is this method's alone."""

    head: str | None = setting(
        None, "the network that is asked", choices=(GENERATIVE, CELLS), group="visible_structure"
    )
    search: str = setting(
        "radius",
        "of head generative: all points within the radius, or the nearest 64 a sample",
        choices=("radius", "nearest"),
        group="visible_structure",
    )
    radius: float | None = setting(
        None, "of head generative, map units", above=0.0, group="visible_structure"
    )


@dataclass(frozen=True, kw_only=True)
class TrainedHead:
    """One head in a bundle."""

    network: str
    #: map points a frame
    candidates: Annotated[int, Range(at_least=1)]
    #: of the generative head: of the search, and of thinning its samples; map units
    radius: Length | None = None
    voxel: Length | None = None
    #: of the generative head: points that it generates
    samples: int | None = None
    #: what it was trained with
    preset: str | None = None
    iterations: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedVisibleStructure:
    """The method in a bundle."""

    #: used unless another is asked for
    head: str
    heads: dict[str, TrainedHead]
    second_pass: bool = True


class VisibleStructure(Trainable[TrainedVisibleStructure]):
    """Cells or points that a head says are visible, matched and solved."""

    name = "visible_structure"
    summary = "points on the structure that a network expects to be visible"
    kind = TrainedVisibleStructure
    variants = (
        Variant(name=CELLS, settings={"head": CELLS}, shown=(CELLS, f"{CELLS}+2"), unlimited={}),
        Variant(
            name=GENERATIVE,
            settings={"head": GENERATIVE},
            shown=(GENERATIVE, f"{GENERATIVE}+2"),
            unlimited={"radius": WHOLE_WORLD},
        ),
    )

    def variants_in(self, manifest: Manifest) -> tuple[Variant, ...]:
        """The heads that are trained."""
        trained = self.trained(manifest)
        return tuple(v for v in self.variants if trained and v.name in trained.heads)

    def networks(self, manifest: Manifest) -> Iterator[Network]:
        """One a head."""
        trained = self.trained(manifest)
        for head, tuned in trained.heads.items() if trained else ():
            output = POINTS if head == GENERATIVE else None
            yield Network(role=head, file=tuned.network, world_output=output)

    def open(
        self, bundle: MapBundle, engines: Engines, settings: VisibleStructureSettings
    ) -> MethodStages:
        """Needs a trained head."""
        from ..bundle.points import open_points
        from ..embedding.choose import open_embedder

        points = open_points(bundle)
        trained = self.opened(bundle)
        head = settings.head or trained.head
        if head not in trained.heads:
            raise BundleError(
                f"{bundle.directory}: has no trained '{head}' head; "
                f"train one with 'edge-reloc train --map {bundle.directory}'"
            )
        tuned = trained.heads[head]
        return MethodStages(
            registration=one_pass,
            retriever=self._retriever(head, points, bundle, engines, settings, tuned),
            embedder=open_embedder(bundle, engines),
            points=points,
            capacity=min(points.n, settings.candidates or tuned.candidates),
        )

    def _retriever(
        self,
        head: str,
        points: PointMap,
        bundle: MapBundle,
        engines: Engines,
        settings: VisibleStructureSettings,
        tuned: TrainedHead,
    ) -> Retriever:
        from ..inference.signature import check_signature
        from ..retrieval.cells import CellsRetriever
        from ..retrieval.generative import GenerativeRetriever

        engine = engines.open(tuned.network)
        embedding = bundle.manifest.embedding
        check_signature(
            engine,
            f"{bundle.directory}: network '{tuned.network}'",
            inputs={"embedding": (1, None if embedding is None else embedding.dim)},
            outputs={"share": (1, points.cells)} if head == CELLS else {POINTS: (None, 3)},
        )
        if head == CELLS:
            return CellsRetriever(points, engine)
        if tuned.radius is None or tuned.voxel is None:
            raise BundleError(
                f"{bundle.directory}: head '{head}' has no radius; train it again with "
                f"'edge-reloc train --map {bundle.directory}'"
            )
        return GenerativeRetriever(
            points,
            engine,
            radius=settings.radius or tuned.radius,
            voxel=tuned.voxel,
            search=settings.search,
        )

    def scale_candidates(self, manifest: Manifest, share: float) -> None:
        """As many fewer as the map has points."""
        trained = self.trained(manifest)
        if trained is not None:
            heads = {
                name: replace(head, candidates=max(1, round(head.candidates * share)))
                for name, head in trained.heads.items()
            }
            self.record(manifest, replace(trained, heads=heads))

    def scale_lengths(self, manifest: Manifest, factor: float) -> None:
        """Radius and voxel of the generative head."""
        trained = self.trained(manifest)
        if trained is not None:
            heads = {
                name: replace(
                    head,
                    radius=None if head.radius is None else head.radius * factor,
                    voxel=None if head.voxel is None else head.voxel * factor,
                )
                for name, head in trained.heads.items()
            }
            self.record(manifest, replace(trained, heads=heads))

    def keep_only(self, manifest: Manifest, settings: VisibleStructureSettings) -> None:
        """One head of it."""
        super().keep_only(manifest, settings)
        trained = self.trained(manifest)
        if trained is not None:
            head = settings.head or trained.head
            own = {head: trained.heads[head]}
            self.record(manifest, replace(trained, head=head, heads=own))
