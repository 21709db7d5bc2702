"""All points of the map: the baseline that every table shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings import CommonSettings
from .method import Method, MethodStages, Variant
from .one_pass import one_pass

if TYPE_CHECKING:
    from ..bundle.reader import MapBundle
    from ..inference.engines import Engines


class Exhaustive(Method):
    """Matches against every point, up to the limit of candidates."""

    name = "exhaustive"
    summary = "every point of the map (baseline)"
    variants = (Variant(name=name, shown=(name,)),)

    def open(self, bundle: MapBundle, engines: Engines, settings: CommonSettings) -> MethodStages:
        """Needs nothing but points."""
        from ..bundle.points import open_points
        from ..retrieval.exhaustive import ExhaustiveRetriever

        points = open_points(bundle)
        return MethodStages(
            registration=one_pass,
            retriever=ExhaustiveRetriever(points.n),
            points=points,
            capacity=settings.candidates or points.n,
        )
