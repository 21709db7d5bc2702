"""Opens a map of tiles for frames: the front, the slots, and the first tiles in them."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from ..bundle.reader import MapBundle
from ..errors import BundleError
from ..geometry.camera import Camera
from ..inference.engines import Engines
from ..memory.arena import Arena
from ..methods.front import open_front
from ..methods.table import Settings
from .coarse_retrieval import open_places
from .index import TiledMap
from .pager import Pager
from .slot import Checked, Slot
from .slot_plan import none_sound, plan_tiles
from .tiled_bundle import TiledBundle
from .tiled_localizer import TiledLocalizer


def open_tiled(bundle: TiledBundle, camera: Camera, settings: Settings) -> TiledLocalizer:
    """Ready for frames: all memory is taken, and the first tiles are in it.

    Raises EdgeRelocError when the tiles cannot serve these settings.
    """
    tiled = bundle.tiled
    plan = plan_tiles(bundle, camera, settings)
    if settings.engine == "auto":
        settings = replace(settings, engine="onnxruntime")
    places = open_places(tiled)
    arena, checked = Arena(plan.front_arena.nbytes), Checked(tiled)
    first = _first_sound(checked, tiled)
    engines = Engines(first, arena, precision=settings.precision, threads=settings.threads)
    try:
        spec, dim = first.manifest.features, bundle.embedding_dim
        front = open_front(spec, camera, settings, engines, embedding_dim=dim)
        arena.seal()
        slots = [Slot(plan.largest("arena")) for _ in range(plan.slots)]
        pager = Pager(checked, slots, camera, settings, front)
        left_out = _fill(slots, pager, len(tiled.tiles))
        if all(slot.tile is None for slot in slots):
            raise none_sound(tiled)
        return TiledLocalizer(bundle, slots, pager, places, engines, settings, left_out)
    except BaseException:
        engines.close()
        raise


def _fill(slots: list[Slot], pager: Pager, tiles: int) -> list[int]:
    """Load the first tiles; those that cannot be used."""
    left_out = []
    for tile in range(tiles):
        free = next((n for n, slot in enumerate(slots) if slot.tile is None), None)
        if free is None:
            break
        if pager.load(free, tile).error is None:
            slots[free].tile = tile
        else:
            left_out.append(tile)
    return left_out


def _first_sound(checked: Checked, tiled: TiledMap) -> MapBundle:
    """A tile whose files are as they were written: frames are seen with its feature network."""
    for tile in tiled.tiles:
        with contextlib.suppress(BundleError):  # said when it is its turn to be loaded
            return checked.open(tile)
    raise none_sound(tiled)
