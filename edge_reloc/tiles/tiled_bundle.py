"""A map of tiles where programs expect a map: one name, one world, all its cameras."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..bundle.layout import TILES_FILE
from ..bundle.manifest import Manifest
from ..bundle.reader import MapBundle, open_bundle
from ..errors import BundleError
from ..methods.table import SCENE_COORDINATES
from .coarse_retrieval import open_places
from .index import TiledMap, is_tiled, open_tiles


class TiledBundle(MapBundle):
    """Describes a city; its files are those of its tiles, which `tiled` opens."""

    def __init__(self, tiled: TiledMap) -> None:
        manifests = [tiled.read_manifest(tile) for tile in tiled.tiles]
        super().__init__(tiled.directory, _summary(tiled, manifests))
        self.tiled = tiled
        #: E of the tile that has most
        self.embedding_dim = max(m.embedding.dim if m.embedding else 0 for m in manifests)

    def apart(self) -> TiledBundle:
        """The same: it opens nothing itself."""
        return self

    def path(self, name: str) -> Path:
        """It has no file of its own that a stage could ask for."""
        raise BundleError(
            f"{self.directory}: a map of tiles has no '{name}'; name one of its tiles, "
            f"{self.tiled.tile_directory(self.tiled.tiles[0])}"
        )

    @property
    def fingerprint(self) -> str:
        """sha256 of tiles.json, hexadecimal."""
        return hashlib.sha256((self.directory / TILES_FILE).read_bytes()).hexdigest()

    def nbytes(self, names: set[str] | None = None) -> int:
        """Bytes of all tiles."""
        return self.tiled.nbytes

    def verify(self) -> None:
        """Compare every file of every tile with its sha256; BundleError on the first."""
        for tile in self.tiled.tiles:
            self.tiled.open_tile(tile, verify=True)
        open_places(self.tiled)


def open_map(
    directory: str | Path, *, verify: bool = False, require_signed: str | Path | None = None
) -> MapBundle:
    """A map bundle or a map of tiles, whichever lies there; see `open_bundle`.

    Of a signed map of tiles the index is signed; what its tiles hold is compared with it when
    they are brought into memory.
    """
    if not is_tiled(directory):
        return open_bundle(directory, verify=verify, require_signed=require_signed)
    bundle = TiledBundle(open_tiles(directory, require_signed=require_signed))
    if verify:
        bundle.verify()
    return bundle


def _summary(tiled: TiledMap, manifests: list[Manifest]) -> Manifest:
    first = manifests[0]
    known = all(manifest.integrity is not None for manifest in manifests)
    return Manifest(
        name=tiled.name,
        world=tiled.world,
        features=first.features,
        embedding=next((m.embedding for m in manifests if m.sees_colour), None),
        method=first.method,
        methods={
            name: told
            for name, told in first.methods.items()
            if name != SCENE_COORDINATES.name and all(name in m.methods for m in manifests)
        },
        integrity=first.integrity if known else None,
        cameras=_cameras(manifest.cameras for manifest in manifests),
        statistics={
            "tiles": len(tiled.tiles),
            "points": sum(tile.points for tile in tiled.tiles),
            "photos": sum(tile.photos for tile in tiled.tiles),
        },
        generator=first.generator,
    )


def _cameras(several: Iterable[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Each camera once, by names of their own: those of the tiles may be of others' cameras."""
    found: list[dict[str, Any]] = []
    for cameras in several:
        found += [camera for camera in cameras.values() if camera not in found]
    return {f"camera{number}": camera for number, camera in enumerate(found)}
