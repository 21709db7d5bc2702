"""`tiles.json`: bundles that lie in one world, found and checked under one index.

    city/
      tiles.json         this index; written last, whole or not at all
      tiles/<name>/      a map bundle each
      places.npy         (V,G) what the feature network says of each mapping photo as a whole
      places_tile.npy    (V,) row of its tile in the index

A pose in any tile is a pose in the city. The index holds the sha256 of every tile's manifest,
which holds that of every file: a signature of the index covers the city.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from ..bundle.exchange import recover
from ..bundle.fields import Range, is_newer, read_fields, read_record
from ..bundle.layout import PLACES, PLACES_TILE, TILES_FILE, TILES_FOLDER, TILES_SIGNATURE
from ..bundle.manifest import (
    MOST_BYTES,
    Count,
    FileEntry,
    Manifest,
    World,
    decode_manifest,
    manifest_bytes,
)
from ..bundle.reader import MapBundle, open_bundle
from ..bundle.signing import check_signature
from ..errors import BundleError, ConfigError
from ..files import unfinished
from ..geometry.rigid import FARTHEST
from .common_ground import FeatureIdentity, check_fits

FORMAT = "edge_reloc.tiles"
VERSION = (1, 0)
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
Coordinate = Annotated[float, Range(at_least=-FARTHEST, at_most=FARTHEST)]
Point = tuple[Coordinate, Coordinate, Coordinate]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One bundle of a city."""

    #: of its folder
    name: str
    #: of its manifest.json, hexadecimal
    manifest_sha256: str
    #: bounds of its points, 1 to 99 % of them, world units
    low: Point
    high: Point
    #: bounds of where its photos were taken
    cameras_low: Point
    cameras_high: Point
    points: Count
    photos: Count
    #: of all its files
    nbytes: Count

    def __post_init__(self) -> None:
        check_tile_name(self.name)
        for low, high in ((self.low, self.high), (self.cameras_low, self.cameras_high)):
            if any(a > b for a, b in zip(low, high, strict=True)):
                raise ConfigError(f"bounds are {low} to {high}, expected low to high")


@dataclass(frozen=True, kw_only=True)
class _Index:
    """What the file holds."""

    name: str
    world: World
    features: FeatureIdentity
    tiles: tuple[Tile, ...]
    files: dict[str, FileEntry] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TiledMap:
    """A city on disk."""

    directory: Path
    name: str
    #: of all tiles
    world: World
    features: FeatureIdentity
    tiles: tuple[Tile, ...]
    #: places.npy and places_tile.npy, where the feature network says what it sees of a photo
    files: dict[str, FileEntry]

    def to_json(self) -> str:
        """The text of tiles.json."""
        index = _Index(**{name: getattr(self, name) for name in _Index.__dataclass_fields__})
        return index_json(index)

    @property
    def nbytes(self) -> int:
        """Of all files of all tiles, those beside the index included."""
        return sum(tile.nbytes for tile in self.tiles) + sum(f.nbytes for f in self.files.values())

    def tile_directory(self, tile: Tile) -> Path:
        """Folder of a tile's bundle."""
        return self.directory / TILES_FOLDER / tile.name

    def open_tile(self, tile: Tile, *, verify: bool = False) -> MapBundle:
        """The bundle of a tile; verify: compare every file with its sha256.

        Raises BundleError when it is no longer the one that the index names.
        """
        bundle = open_bundle(self.tile_directory(tile))
        bundle.manifest = self.read_manifest(tile)  # of the very bytes that were compared
        if verify:
            bundle.verify()
        return bundle

    def read_manifest(self, tile: Tile) -> Manifest:
        """A tile's manifest; BundleError unless it is the one that the index names."""
        directory = self.tile_directory(tile)
        if directory.is_symlink() or not directory.is_dir():
            raise BundleError(
                f"{directory}: tile listed in {TILES_FILE} but no folder; copy the tiled map "
                f"again with all its tiles"
            )
        content = manifest_bytes(directory)
        found = hashlib.sha256(content).hexdigest()
        if found != tile.manifest_sha256:
            raise BundleError(
                f"{directory}: its manifest was changed (sha256 is {found[:12]}…, {TILES_FILE} "
                f"says {tile.manifest_sha256[:12]}…); write the tiled map again, as 'edge-reloc "
                f"combine --tiles' does"
            )
        return decode_manifest(content, str(directory))


def check_tile_name(name: str) -> None:
    """ConfigError unless a name is that of a folder and nothing else."""
    if not PLAIN_NAME.fullmatch(name) or name.endswith("."):
        raise ConfigError(
            f"tile name '{name}' is no plain folder name (letters, digits, '_', '-', '.', at "
            f"most 64)"
        )


def index_json(index: _Index) -> str:
    """The text of tiles.json; what is None is left out."""

    def without_none(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if value is not None}

    values = {
        "format": FORMAT,
        "version": list(VERSION),
        **asdict(index, dict_factory=without_none),
    }
    return json.dumps(values, indent=1) + "\n"


def is_tiled(directory: str | Path) -> bool:
    """Whether a folder holds the index of a map of tiles."""
    recover(Path(directory))
    return (Path(directory) / TILES_FILE).is_file()


def open_tiles(directory: str | Path, *, require_signed: str | Path | None = None) -> TiledMap:
    """The index, when it and the manifests of its tiles fit together.

    Reads no tile's files: that is done when one is brought into memory. require_signed: file
    of the public key whose holder must have signed the index. Raises BundleError, ConfigError
    when there is no such key, MissingPackageError without `cryptography`.
    """
    directory = Path(directory)
    recover(directory)
    path = directory / TILES_FILE
    content = _index_bytes(directory)
    if require_signed is not None:  # before anything else of it is read
        check_signature(
            directory,
            content,
            Path(require_signed),
            signed=TILES_FILE,
            signature=TILES_SIGNATURE,
        )
    index = _decode(content, str(path))
    tiled = TiledMap(directory=directory, **vars(index))
    _check_inside(tiled)
    for tile in tiled.tiles:
        manifest = tiled.read_manifest(tile)
        where = str(tiled.tile_directory(tile))
        check_fits(index.world, index.features, manifest, where)
    return tiled


def _index_bytes(directory: Path) -> bytes:
    path = directory / TILES_FILE
    if not path.is_file():
        raise BundleError(
            f"{directory}: not a map of tiles ({TILES_FILE} is missing); make one with "
            f"'edge-reloc combine --tiles'"
        )
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise BundleError(f"{path}: found more than {MOST_BYTES} bytes; no index has them")
    return content


def _decode(content: bytes, where: str) -> _Index:
    values = read_record(content, where, format=FORMAT, what="an index of tiles")
    version = values.pop("version", None)
    lenient = is_newer(version, VERSION, f"{where}: format of tiles", "write the map again")
    index = read_fields(_Index, values, where, lenient=lenient)
    names = [tile.name for tile in index.tiles]
    if not names:
        raise BundleError(f"{where}: lists no tiles, expected one at least")
    twice = (
        [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []
    )
    if twice:
        raise BundleError(f"{where}: lists tile '{twice[0]}' twice")
    for name in index.files:
        if name not in (PLACES, PLACES_TILE):
            raise BundleError(f"{where}: lists '{name}', expected {PLACES} and {PLACES_TILE} alone")
    return index


def _check_inside(tiled: TiledMap) -> None:
    """BundleError for what is missing in the folder, or lies there and is not listed."""
    tiles = tiled.directory / TILES_FOLDER
    if tiles.is_symlink():
        raise BundleError(f"{tiles}: leads out of the map through a symbolic link; copy it whole")
    signatures = TILES_SIGNATURE, unfinished(TILES_SIGNATURE)
    known = {TILES_FILE, TILES_FOLDER, *signatures, *tiled.files}
    for folder, listed in ((tiled.directory, known), (tiles, {t.name for t in tiled.tiles})):
        try:
            found = set(os.listdir(folder))
        except OSError:
            found = set()
        for name in sorted(found - listed):
            raise BundleError(f"{folder / name}: not listed in {TILES_FILE}; remove it")
    for name, entry in tiled.files.items():
        path = tiled.directory / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(
                f"{path}: listed in {TILES_FILE} but no file; copy the tiled map again"
            )
        if path.stat().st_size != entry.nbytes:
            raise BundleError(
                f"{path}: found {path.stat().st_size} bytes, expected {entry.nbytes}; the file "
                f"is damaged, copy the tiled map again"
            )
