"""Which local features a map speaks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from ..bundle.fields import Range
from ..errors import ConfigError

SIFT = "sift"
SIFT_DIM = 128
XYZ_WORLD = "xyz_world"  # what scene coordinate regression answers instead of descriptors
Cosine = Annotated[float, Range(at_least=-1, at_most=1)]
SidePx = Annotated[int, Range(at_least=16, at_most=1 << 14)]


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A feature network exported for one input size."""

    #: its ONNX file
    file: str
    #: of the input, pixels
    width: SidePx
    #: of the input, pixels
    height: SidePx


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """Identity and settings of the local features of a map."""

    #: sift, or the name of a network
    kind: str
    #: D, numbers of a descriptor
    dim: Annotated[int, Range(at_least=1, at_most=4096)]
    #: N, keypoints of a frame at most, 16 to 16384
    keypoints: int = 2048
    #: of sift: images with a longer side are made smaller first, pixels
    max_side: SidePx = 1024
    #: cosine that a 2D-3D match must reach
    min_similarity: Cosine = 0.82
    #: second best over best distance at most; 1 switches the test off
    max_ratio: Annotated[float, Range(above=0, at_most=1)] = 1.0
    #: the mapping photos were turned to one heading, so frames may have to be as well
    turns: bool = False
    #: one for each input size; none for sift, and where the map has lost its use for them
    networks: tuple[NetworkSpec, ...] = ()
    #: of the source weights
    weights_sha256: str | None = None
    #: what the map's descriptors are multiplied with; 1 unless they are int8
    descriptor_scale: float = 1.0
    #: G, length of the network's own image embedding; 0 for none
    place_dim: Annotated[int, Range(at_least=0, at_most=1 << 16)] = 0
    #: cosine that matches between mapping photos must reach, None for min_similarity:
    #: thousands of pairs give wrong matches more chances than one frame
    pair_similarity: Cosine | None = None
    #: share of the image that must agree with a pose, see `Gate`
    min_coverage: Annotated[float, Range(at_least=0, at_most=1)] = 0.5

    def __post_init__(self) -> None:
        if not 16 <= self.keypoints <= 16384:
            raise ConfigError(f"keypoints is {self.keypoints}, expected 16 to 16384")
        if not 0 < self.descriptor_scale <= 1:
            raise ConfigError(f"descriptor_scale is {self.descriptor_scale}, expected 0 to 1")

    @property
    def similarity_of_pairs(self) -> float:
        """Cosine that matches between mapping photos must reach."""
        return self.min_similarity if self.pair_similarity is None else self.pair_similarity

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return asdict(self)
