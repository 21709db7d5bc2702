"""What a map of tiles takes: one front, and slots that are as large as the largest tile needs.

Every tile's line is put together with engines that know only their sizes and arrays that stay
on disk, so that no tile can find its slot too small.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle.layout import PLACES
from ..bundle.reader import MapBundle
from ..errors import BundleError, ConfigError
from ..geometry.camera import Camera
from ..inference.planned import PlannedEngines
from ..memory.arena import Arena
from ..methods.assemble import assemble
from ..methods.front import Front, open_front
from ..methods.table import SCENE_COORDINATES, Settings
from .index import Tile, TiledMap
from .slot import TileBundle
from .tiled_bundle import TiledBundle


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """Bytes of one tile in memory."""

    arena: int
    #: of networks, as `NetworkDescription` has them
    weights: int
    activations: int
    #: large arrays, which stay mapped
    mapped: int
    #: candidates of a frame at most
    candidates: int


@dataclass(frozen=True, kw_only=True)
class TilesPlan:
    """Of a map of tiles."""

    front: Front
    front_arena: Arena
    front_engines: PlannedEngines
    tiles: tuple[TilePlan, ...]
    #: that are in memory at once
    slots: int
    #: of coarse retrieval
    places: int

    def largest(self, what: str) -> int:
        """The most that a tile takes of something."""
        return max(int(getattr(tile, what)) for tile in self.tiles)


def plan_tiles(bundle: TiledBundle, camera: Camera, settings: Settings) -> TilesPlan:
    """The plan of a city for one camera. Raises EdgeRelocError when a tile cannot serve it."""
    check_settings(settings)
    tiled = bundle.tiled
    arena = Arena()
    first = TileBundle(tiled.open_tile(tiled.tiles[0]), arena, planned=True)
    engines = PlannedEngines(first, arena, precision=settings.precision)
    spec = first.manifest.features
    front = open_front(spec, camera, settings, engines, embedding_dim=bundle.embedding_dim)
    plans = [_plan(bundle, tile, camera, settings, front) for tile in tiled.tiles]
    if all(plan is None for plan in plans):
        raise none_sound(tiled)
    return TilesPlan(
        front=front,
        front_arena=arena,
        front_engines=engines,
        tiles=tuple(plan for plan in plans if plan is not None),
        slots=min(settings.resident_tiles, len(tiled.tiles)),
        places=tiled.files[PLACES].nbytes if PLACES in tiled.files else 0,
    )


def check_settings(settings: Settings) -> None:
    """ConfigError for what maps of tiles do not do."""
    if settings.method == SCENE_COORDINATES.name:
        raise ConfigError(
            f"--method {settings.method}: holds a place in a feature network of its own, which "
            f"tiles cannot share; choose another method"
        )
    if settings.engine == "tensorrt" or settings.matcher == "cuda":
        raise ConfigError(
            "maps of tiles run on the processor, in ONNX Runtime: leave out --engine tensorrt and "
            "--matcher cuda, or localise in one tile (MAP/tiles/NAME)"
        )


def _plan(
    bundle: TiledBundle, tile: Tile, camera: Camera, settings: Settings, front: Front
) -> TilePlan | None:
    """Of one tile; None where it is damaged, which is said when it is its turn to be loaded."""
    arena = Arena()
    own = TileBundle(bundle.tiled.open_tile(tile), arena, planned=True)
    engines = PlannedEngines(own, arena, precision=settings.precision)
    try:
        line = assemble(own, camera, settings, engines, front)
    except Exception:  # of numbers that nobody checked, whatever they lead to
        if _is_damaged(own):
            return None
        raise
    headers = engines.headers.values()
    return TilePlan(
        arena=arena.nbytes,
        weights=sum(header.weight_bytes for header in headers),
        activations=max((header.activation_bytes or 0 for header in headers), default=0),
        mapped=own.mapped_bytes,
        candidates=line.candidates.capacity,
    )


def _is_damaged(bundle: MapBundle) -> bool:
    try:
        bundle.verify()
    except BundleError:
        return True
    return False


def none_sound(tiled: TiledMap) -> BundleError:
    """That no tile can be used."""
    return BundleError(
        f"{tiled.directory}: none of its {len(tiled.tiles)} tiles can be used; 'edge-reloc inspect "
        f"--verify {tiled.directory}' says why"
    )
