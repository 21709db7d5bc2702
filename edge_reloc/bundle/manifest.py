"""`manifest.json`: what a bundle holds, checked field by field."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import exp, prod
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from ..embedding.spec import EmbeddingSpec
from ..errors import BundleError, ConfigError
from ..features.spec import FeatureSpec
from .fields import Range, is_newer, read_fields, read_record
from .layout import MANIFEST, SIGNATURE, TILES_FILE, TILES_FOLDER

FORMAT = "edge_reloc.map"
# Real ones have a few thousand. Parsed, JSON takes many times its bytes.
MOST_BYTES = 4 << 20
VERSION = (1, 5)
PIXEL_CONVENTION = "centre of the top-left pixel is (0, 0)"
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
LARGEST_TENSOR = 1 << 27  # numbers of one input or output: an image of 16384 x 8192
Count = Annotated[int, Range(at_least=0)]


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """An input or output of a network."""

    #: numpy's name, one of DTYPES
    dtype: str
    #: all sizes are fixed
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is '{self.dtype}', expected one of {DTYPES}")
        if any(size < 1 for size in self.shape):
            raise ConfigError(f"shape is {self.shape}, expected sizes above 0")
        if prod(self.shape) > LARGEST_TENSOR:
            raise ConfigError(f"shape is {self.shape}, expected {LARGEST_TENSOR} numbers at most")


@dataclass(frozen=True, kw_only=True)
class NetworkDescription:
    """What must be known of a network before memory is taken for it."""

    inputs: dict[str, TensorEntry]
    outputs: dict[str, TensorEntry]
    #: of all weights once an engine has them: in float32 where the file holds float16
    weight_bytes: Count
    #: most that lives at once between layers; None: the file does not tell
    activation_bytes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One listed file."""

    #: hexadecimal
    sha256: str
    nbytes: Count
    #: of arrays: numpy's name, such as float32
    dtype: str | None = None
    #: of arrays
    shape: tuple[Count, ...] | None = None
    #: of an array's numbers: metre, map unit
    unit: str | None = None
    #: of ONNX files
    network: NetworkDescription | None = None


@dataclass(frozen=True, kw_only=True)
class World:
    """The frame that poses refer to."""

    #: whether one unit is one metre
    metric: bool
    #: unit vector (3,) that points down in the world
    gravity: tuple[float, float, float] | None = None
    #: latitude_deg, longitude_deg, altitude_m of the origin; x east, y north, z up
    georeference: dict[str, float] | None = None
    #: of several maps combined into one: where each one's origin was put, world units
    parts: dict[str, tuple[float, float, float]] | None = None


Row = tuple[float, float, float]
ORTHONORMAL = 1e-6  # what rows of a rotation may be off by


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How the world got its frame after mapping, docs/alignment.md; the runtime reads none of it.

    world = scale * rotation @ mapped + translation: what lies in the map's work folder stays
    as it was mapped.
    """

    #: world units in a unit of the mapped frame
    scale: Annotated[float, Range(above=0, at_most=1e9)]
    rotation: tuple[Row, Row, Row]
    #: world units
    translation: Row
    #: what the world was aligned to last, in words
    source: str
    #: how many items that had, those that were left out included
    items: Count = 0
    #: what these items are off by, world units; of many the worst
    residuals: dict[str, float] = field(default_factory=dict)
    #: items that contradict the others
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for a, first in enumerate(self.rotation):
            for b, second in enumerate(self.rotation):
                product = sum(x * y for x, y in zip(first, second, strict=True))
                if abs(product - (a == b)) > ORTHONORMAL:
                    raise ConfigError(f"rotation is {self.rotation}, expected orthonormal rows")


@dataclass(frozen=True, kw_only=True)
class CovarianceScale:
    """How many times larger errors are than the solver's covariance says, docs/integrity.md.

    Multiplied by `variance`, 95 % of the errors lie where it says that 95 % do; beyond, the
    share of errors that are s times larger falls as s to the power of minus `tail`.
    """

    #: up to `angle_rad` between the rays to a frame and those of mapping
    factor: Annotated[float, Range(above=0, at_most=1e6)]
    #: of what was measured, in the mean
    angle_rad: Annotated[float, Range(at_least=0, at_most=4)] = 0.0
    #: growth of the factor's logarithm beyond that angle
    per_radian: Annotated[float, Range(at_least=0, at_most=10)] = 0.0
    tail: Annotated[float, Range(at_least=1, at_most=100)] = 3.0

    def variance(self, angle_rad: float) -> float:
        """The factor for a frame whose rays lie at this angle from those of mapping."""
        return self.factor * exp(self.per_radian * max(angle_rad - self.angle_rad, 0.0))


Weight = Annotated[float, Range(at_least=0, at_most=100)]
# Of the model of right poses, as `edge_reloc_export.integrity.fit` found them.
BIAS, EXPLAINED, CONCENTRATION = 5.8, 2.3, 0.6
Spread = tuple[float, float]  # mean, standard deviation


@dataclass(frozen=True, kw_only=True)
class Usual:
    """Mean and standard deviation of what right poses show: `Evidence` in pose/plausibility.py."""

    explained: Spread
    concentration: Spread

    def __post_init__(self) -> None:
        for name, (mean, scatter) in vars(self).items():
            if not (abs(mean) <= 100 and 1e-3 <= scatter <= 100):
                raise ConfigError(
                    f"{name} is {(mean, scatter)}, expected a mean of -100 to 100 and a "
                    f"standard deviation of 0.001 to 100"
                )


@dataclass(frozen=True, kw_only=True)
class Plausibility:
    """A logistic model of whether a pose is right: what is usual, and what less usual costs.

    Each weight is what the logarithm of the odds loses with a standard deviation on the side of
    wrong poses; docs/integrity.md says what they were fitted on.
    """

    #: of poses that the second pass did not confirm
    first: Usual
    #: of poses that it did
    refined: Usual
    bias: Annotated[float, Range(at_least=-50, at_most=50)] = BIAS
    explained: Weight = EXPLAINED
    concentration: Weight = CONCENTRATION


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """What is known of the errors of poses, from mapping photos that were left out."""

    #: photos that were left out and localised, all tries together
    photos: Count
    #: of poses that the second pass did not confirm
    first: CovarianceScale
    #: of poses that it did
    refined: CovarianceScale
    #: None: of an older map
    plausibility: Plausibility | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """The float16 version of a network, beside the float32 file or instead of it."""

    #: features, embedding, or the name of the head or method
    role: str
    #: its ONNX file
    float16: str | None = None
    #: convolutions and matrix products that stay float32 in it
    islands: tuple[str, ...] = ()
    #: the layer that came nearest to float16's largest number, as measured
    largest_activation: tuple[dict[str, Any], ...] = ()


@dataclass(kw_only=True)
class Manifest:
    """Content of manifest.json."""

    #: of the place
    name: str
    world: World
    features: FeatureSpec
    #: None: no method of this map needs one
    embedding: EmbeddingSpec | None = None
    #: the default one
    method: str
    #: settings by method, as tuned on mapping photos; each method reads its own
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: float16 versions by the name of the float32 file
    networks: dict[str, NetworkEntry] = field(default_factory=dict)
    #: what float16 was measured to change; the runtime reads none of it
    parity: dict[str, Any] = field(default_factory=dict)
    #: None: too few photos to leave some out, or an older map
    integrity: Integrity | None = None
    #: None: the world is as it was mapped
    alignment: Alignment | None = None
    #: mapping cameras by name (Camera.to_dict)
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: counts for people; the runtime reads none of them
    statistics: dict[str, Any] = field(default_factory=dict)
    #: every file by its relative path
    files: dict[str, FileEntry] = field(default_factory=dict)
    #: what wrote the bundle
    generator: str = ""

    @property
    def sees_colour(self) -> bool:
        """Whether frames should come in colour, for the image embedding's sake."""
        return self.embedding is not None and self.embedding.sees_colour

    def to_json(self) -> str:
        """The text of manifest.json; what is None is left out."""
        values = {
            "format": FORMAT,
            "version": list(VERSION),
            "pixel_convention": PIXEL_CONVENTION,
            **asdict(self, dict_factory=without_none),
        }
        return json.dumps(values, indent=1, sort_keys=False) + "\n"


def without_none(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `asdict`: what is None is left out."""
    return {key: value for key, value in pairs if value is not None}


def check_file_name(name: str, where: str) -> None:
    """Refuse absolute paths, parent folders and odd separators."""
    path = PurePosixPath(name)
    if (
        not name
        or name in (MANIFEST, SIGNATURE)
        or not name.isprintable()
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or str(path) != name
    ):
        raise BundleError(f"{where}: file name '{name}' is not a plain relative path")


def decode_manifest(content: bytes, where: str) -> Manifest:
    """Manifest of a file's bytes; BundleError says what is wrong with it."""
    values = read_record(content, where, format=FORMAT, what="a map bundle")
    version = values.pop("version", None)
    lenient = is_newer(version, VERSION, f"{where}: bundle format", "map the place again")
    values.pop("pixel_convention", None)
    values.pop("limits", None)  # of 1.1 and older; no reader ever used them
    if values.get("embedding") == {}:  # how 1.1 said that there is none
        del values["embedding"]
    manifest = read_fields(Manifest, values, where, lenient=lenient)
    for name in manifest.files:
        check_file_name(name, where)
    return manifest


def manifest_bytes(directory: Path) -> bytes:
    """manifest.json of a bundle directory as it is. Raises BundleError."""
    path = directory / MANIFEST
    if not directory.is_dir():
        raise BundleError(f"{directory}: no such map bundle; make one with 'edge-reloc map'")
    if (directory / TILES_FILE).is_file():
        raise BundleError(
            f"{directory}: a map of tiles, which this does not take; name one of its tiles, "
            f"{directory / TILES_FOLDER}/NAME"
        )
    if not path.is_file():
        raise BundleError(f"{directory}: not a map bundle ({MANIFEST} is missing)")
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise BundleError(f"{path}: found more than {MOST_BYTES} bytes; no map's manifest has them")
    return content
