"""Which image embedding a map speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..bundle.fields import Range
from ..errors import ConfigError

VLAD, VLAD_AND_PLACE, DINOV2 = "vlad", "vlad+place", "dinov2"


@dataclass(frozen=True, kw_only=True)
class EmbeddingSpec:
    """Identity and settings of the image embedding of a map."""

    #: vlad; vlad+place, beside it the feature network's own; dinov2, its class token
    kind: str
    #: E, its length
    dim: Annotated[int, Range(at_least=1, at_most=1 << 16)]
    #: of vlad's assignment to words; None: each descriptor to the nearest alone
    sharpness: Annotated[float, Range(above=0, at_most=1e6)] | None = None
    #: of dinov2: its ONNX file
    network: str | None = None

    def __post_init__(self) -> None:
        if self.kind == DINOV2 and self.network is None:
            raise ConfigError(f"'{self.kind}' names no network")

    @property
    def sees_colour(self) -> bool:
        """Whether frames should come in colour."""
        return self.kind == DINOV2
