"""Which local features a map speaks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BundleError, ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A feature network exported for one input size (pixels)."""

    file: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """Identity and settings of the local features of a map.

    kind: "sift" or the name of a network. dim: D. keypoints: N. max_side:
    images with a longer side are made smaller first (sift only; a network has
    its input size). min_similarity and max_ratio: acceptance of a 2D-3D match
    (cosine; second best over best distance, 1 switches the test off).
    pair_similarity: cosine that matches between mapping photos must reach, None for
    min_similarity: thousands of pairs give wrong matches more chances than one frame.
    min_coverage: share of the image that must agree with a pose, see `Gate`.
    turns: the mapping photos were turned by quarter turns to one heading, so
    the runtime may have to turn frames as well. weights_sha256: of the source
    weights, None for sift. descriptor_scale: what the numbers of the map's descriptors
    are multiplied with, 1 unless they are int8. place_dim: G, length of the network's own
    image embedding, 0 for none.
    """

    kind: str
    dim: int
    keypoints: int = 2048
    max_side: int = 1024
    min_similarity: float = 0.82
    max_ratio: float = 1.0
    turns: bool = False
    networks: tuple[NetworkSpec, ...] = ()
    weights_sha256: str | None = None
    descriptor_scale: float = 1.0
    place_dim: int = 0
    pair_similarity: float | None = None
    min_coverage: float = 0.5

    def __post_init__(self) -> None:
        if not 16 <= self.keypoints <= 16384:
            raise ConfigError(f"features: keypoints is {self.keypoints}, expected 16 to 16384")
        if not 0 < self.descriptor_scale <= 1:
            raise ConfigError(
                f"features: descriptor_scale is {self.descriptor_scale}, expected 0 to 1"
            )
        if self.kind != "sift" and not self.networks:
            raise ConfigError(f"features: '{self.kind}' names no network")

    @property
    def similarity_of_pairs(self) -> float:
        """Cosine that matches between mapping photos must reach."""
        return self.min_similarity if self.pair_similarity is None else self.pair_similarity

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSpec:
        """Inverse of `to_dict`; BundleError for unknown or missing keys."""
        try:
            networks = tuple(NetworkSpec(**n) for n in values.get("networks", ()))
            return cls(**{**values, "networks": networks})
        except TypeError as error:
            raise BundleError(f"features: {error}") from error
