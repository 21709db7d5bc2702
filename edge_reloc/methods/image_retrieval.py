"""Points seen by the nearest mapping photos: the field's usual way, as a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import CommonSettings, setting
from .method import Method, MethodStages, Variant
from .one_pass import one_pass

if TYPE_CHECKING:
    from ..bundle.reader import MapBundle
    from ..inference.engines import Engines

EVERY_IMAGE = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ImageRetrievalSettings(CommonSettings):
    """What is this method's alone."""

    images: int = setting(
        10, "mapping photos whose points are taken", at_least=1, group="image_retrieval"
    )


class ImageRetrieval(Method):
    """Nearest mapping photos by embedding, and the points that they see."""

    name = "image_retrieval"
    summary = "points seen by the nearest mapping photos (baseline)"
    variants = (
        Variant(
            name=name,
            counted="images",
            shown=(f"{name}:10",),
            unlimited={"images": EVERY_IMAGE},
        ),
    )

    def open(
        self, bundle: MapBundle, engines: Engines, settings: ImageRetrievalSettings
    ) -> MethodStages:
        """Needs the mapping photos' embeddings."""
        from ..bundle.points import open_points
        from ..embedding.choose import open_embedder
        from ..retrieval.image_retrieval import ImageRetriever

        points = open_points(bundle)
        retriever = ImageRetriever(bundle, engines.arena, points.n, settings.images)
        return MethodStages(
            registration=one_pass,
            retriever=retriever,
            embedder=open_embedder(bundle, engines),
            points=points,
            capacity=max(1, min(points.n, retriever.most, settings.candidates or points.n)),
        )
