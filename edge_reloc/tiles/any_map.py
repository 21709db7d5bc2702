"""Opens a localiser on whatever map there is: a bundle, or a city of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..bundle.mapping_cameras import only_camera
from ..bundle.reader import MapBundle
from ..geometry.camera import Camera, read_camera
from ..localizer import Localizer
from ..methods.table import Settings
from ..settings import settings_from
from .tiled_bundle import TiledBundle, open_map
from .tiled_opening import open_tiled

log = logging.getLogger(__name__)


def open_on(bundle: MapBundle, camera: Camera, settings: Settings) -> Localizer:
    """A localiser for an opened map of either kind. Raises EdgeRelocError."""
    if isinstance(bundle, TiledBundle):
        return open_tiled(bundle, camera, settings)
    return Localizer.open(bundle, camera, settings)


def open_localizer(
    map: str | Path,
    camera: Camera | str | Path | None = None,
    *,
    settings: Settings | None = None,
    budget_bytes: int | None = None,
    fit: bool = False,
    require_signed: str | Path | None = None,
    **values: Any,
) -> Localizer:
    """A localiser for a map, ready for frames; use it in a `with` statement.

    map: folder of a map bundle or of a map of tiles. camera: a Camera or a camera file; None
    takes the map's only mapping camera. values: any fields of `Settings`, over those of
    `settings`. budget_bytes: host memory that the whole process may hold; more is refused with
    the plan, or with `fit` limits are lowered until it is kept, and a warning is logged that
    says which. require_signed: file of a public key; a map that its holder did not sign as it
    is, to the byte, is refused. Raises EdgeRelocError, in one line that says what, where and the
    cure.
    """
    given = {} if settings is None else vars(settings)
    settings = settings_from(Settings, {**given, **values}, "edge_reloc.open")
    bundle = open_map(map, require_signed=require_signed)
    if camera is None:
        camera = only_camera(bundle)[0]
    elif not isinstance(camera, Camera):
        camera = read_camera(camera)
    if budget_bytes is not None:
        from ..running.budget import check_budget, fit_budget

        if fit:
            settings, _, lowered = fit_budget(bundle, camera, settings, budget_bytes)
            if lowered:
                log.warning("%s: %s", map, lowered)
        else:
            check_budget(bundle, camera, settings, budget_bytes)
    return open_on(bundle, camera, settings)
