"""The one place that chooses how a map's images are embedded."""

from __future__ import annotations

from ..bundle.reader import MapBundle
from ..errors import BundleError
from ..inference.engines import Engines
from ..stages import Embedder
from .dinov2 import DinoV2Embedder
from .place import open_embedding
from .spec import DINOV2, VLAD, VLAD_AND_PLACE


def open_embedder(bundle: MapBundle, engines: Engines) -> Embedder:
    """The embedder of a bundle. Raises BundleError when it is of an unknown kind."""
    spec = bundle.manifest.embedding
    kind = None if spec is None else spec.kind
    if kind in (VLAD, VLAD_AND_PLACE):
        return open_embedding(bundle)
    if kind == DINOV2 and spec is not None and spec.network is not None:
        embedder = DinoV2Embedder(engines.open(spec.network))
        if embedder.dim != spec.dim:
            raise BundleError(
                f"{bundle.directory}: '{spec.network}' gives {embedder.dim} numbers, the map's "
                f"embeddings have {spec.dim}; map the place again"
            )
        return embedder
    raise BundleError(
        f"{bundle.directory}: image embedding '{kind}' is unknown; upgrade edge_reloc"
    )
