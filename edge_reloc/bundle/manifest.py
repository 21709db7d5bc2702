"""`manifest.json`: what a bundle holds, checked field by field."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, TypeVar

from ..errors import BundleError

FORMAT = "edge_reloc.map"
VERSION = (1, 1)
MANIFEST_NAME = "manifest.json"
PIXEL_CONVENTION = "centre of the top-left pixel is (0, 0)"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One listed file. dtype, shape and unit are None for networks."""

    sha256: str
    nbytes: int
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class World:
    """The frame that poses refer to.

    metric: whether one unit is one metre. gravity: unit vector (3,) pointing
    down in the world, or None. georeference: latitude_deg, longitude_deg,
    altitude_m of the origin with x east, y north, z up; or None. parts: for
    maps combined into one, where each one's origin was put (world units).
    """

    metric: bool
    gravity: tuple[float, float, float] | None = None
    georeference: dict[str, float] | None = None
    parts: dict[str, tuple[float, float, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Capacities that fix the runtime's memory."""

    keypoints: int = 2048
    candidates: int = 4096
    matches: int = 2048
    samples: int = 1000


@dataclass(kw_only=True)
class Manifest:
    """Content of manifest.json.

    features: FeatureSpec as a dictionary. embedding: {"kind", "dim", ...}.
    methods: settings by method name; `method` is the default one. networks: by
    the name of the float32 file: its role, and the float16 file beside or instead
    of it. parity: what float16 changes, as measured; the runtime reads none of it.
    cameras: the mapping cameras by name (Camera.to_dict).
    """

    name: str
    world: World
    features: dict[str, Any]
    embedding: dict[str, Any] = field(default_factory=dict)
    method: str = "exhaustive"
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)
    generator: str = ""

    def to_json(self) -> str:
        """The text of manifest.json."""
        values = {
            "format": FORMAT,
            "version": list(VERSION),
            "pixel_convention": PIXEL_CONVENTION,
            **asdict(self),
        }
        return json.dumps(values, indent=1, sort_keys=False) + "\n"


# What a key must hold, JSON's type in words; keys that may be null say so.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "text"),
    "world": ((dict,), "an object"),
    "features": ((dict,), "an object"),
    "embedding": ((dict,), "an object"),
    "method": ((str,), "text"),
    "methods": ((dict,), "an object"),
    "networks": ((dict,), "an object"),
    "parity": ((dict,), "an object"),
    "limits": ((dict,), "an object"),
    "cameras": ((dict,), "an object"),
    "statistics": ((dict,), "an object"),
    "files": ((dict,), "an object"),
    "generator": ((str,), "text"),
    "metric": ((bool,), "true or false"),
    "gravity": ((list, NoneType), "a list of three numbers or null"),
    "georeference": ((dict, NoneType), "an object or null"),
    "parts": ((dict, NoneType), "an object or null"),
    "sha256": ((str,), "text"),
    "nbytes": ((int,), "an integer"),
    "dtype": ((str, NoneType), "text or null"),
    "shape": ((list, NoneType), "a list of integers or null"),
    "unit": ((str, NoneType), "text or null"),
}


def _build(kind: type[T], values: Any, where: str, *, lenient: bool) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise BundleError(f"{where}: found {type(values).__name__}, expected an object")
    if lenient:  # a newer minor version may add keys that we may ignore
        values = {key: value for key, value in values.items() if key in known}
    for key, value in values.items():
        types, expected = _KINDS.get(key, ((object,), ""))
        if not isinstance(value, types):
            raise BundleError(f"{where}: '{key}' is {value!r}, expected {expected}")
    if unknown := set(values) - known:
        raise BundleError(f"{where}: unknown keys {sorted(unknown)}; expected {sorted(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise BundleError(f"{where}: {error}") from error


def check_file_name(name: str, where: str) -> None:
    """Refuse absolute paths, parent folders and odd separators."""
    path = PurePosixPath(name)
    if (
        not name
        or name == MANIFEST_NAME
        or not name.isprintable()
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or ":" in name
        or str(path) != name
    ):
        raise BundleError(f"{where}: file name '{name}' is not a plain relative path")


def parse_manifest(text: str, where: str) -> Manifest:
    """Manifest of a JSON text; BundleError says what is wrong with it."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); the bundle is damaged") from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise BundleError(f'{where}: not a map bundle (expected "format": "{FORMAT}")')
    lenient = _check_version(values.pop("version", None), where)
    values.pop("pixel_convention", None)
    manifest = _build(Manifest, values, where, lenient=lenient)
    manifest.world = _build(World, manifest.world, f"{where}: world", lenient=lenient)
    gravity, parts = manifest.world.gravity, manifest.world.parts
    if gravity is not None:
        gravity = _three(gravity, f"{where}: world: gravity")
    if parts is not None:
        parts = {name: _three(at, f"{where}: world: parts['{name}']") for name, at in parts.items()}
    manifest.world = replace(manifest.world, gravity=gravity, parts=parts)
    manifest.limits = _build(Limits, manifest.limits, f"{where}: limits", lenient=lenient)
    for limit in fields(Limits):
        value = getattr(manifest.limits, limit.name)
        if type(value) is not int or not 0 < value <= 1 << 24:
            raise BundleError(f"{where}: limit '{limit.name}' is {value!r}, expected 1 to 2^24")
    entries = {}
    for name, entry in manifest.files.items():
        check_file_name(name, where)
        entries[name] = _build(FileEntry, entry, f"{where}: files['{name}']", lenient=lenient)
    manifest.files = entries
    return manifest


def _check_version(version: Any, where: str) -> bool:
    """Whether the minor version is newer than ours; BundleError when unreadable."""
    if (
        not isinstance(version, list)
        or len(version) != 2
        or not all(type(v) is int and v >= 0 for v in version)
    ):
        raise BundleError(f"{where}: version is {version!r}, expected [major, minor]")
    if version[0] > VERSION[0]:
        raise BundleError(
            f"{where}: bundle format {version[0]}.{version[1]} is newer than "
            f"{VERSION[0]}.{VERSION[1]}, the newest this edge_reloc reads; upgrade edge_reloc"
        )
    if version[0] < VERSION[0]:
        raise BundleError(
            f"{where}: bundle format {version[0]}.{version[1]} is older than "
            f"{VERSION[0]}.0, the oldest this edge_reloc reads; map the place again"
        )
    return version > list(VERSION)


def _three(values: Any, where: str) -> tuple[float, float, float]:
    if (
        not isinstance(values, (list, tuple))
        or len(values) != 3
        or not all(type(v) in (int, float) for v in values)
    ):
        raise BundleError(f"{where} is {values!r}, expected three numbers")
    x, y, z = (float(v) for v in values)
    return x, y, z


def read_manifest(directory: Path) -> Manifest:
    """Read manifest.json of a bundle directory."""
    path = directory / MANIFEST_NAME
    if not directory.is_dir():
        raise BundleError(f"{directory}: no such map bundle; make one with 'edge-reloc map'")
    if not path.is_file():
        raise BundleError(f"{directory}: not a map bundle ({MANIFEST_NAME} is missing)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not text; the bundle is damaged") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_manifest(text, str(path))
