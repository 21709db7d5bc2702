"""Photos that have poses in two maps: shared ones, or such that one localises."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_reloc.arrays import F64
from edge_reloc.bundle import MapBundle
from edge_reloc.errors import MappingError

from ..photos.listing import list_photos
from .fit import FEWEST
from .posed_photos import PosedPhotos, localised_photos, mapping_photos, spread

log = logging.getLogger(__name__)


class PosesInBoth(NamedTuple):
    """`cam_from_world` (4,4) by photo, in this map and in the other."""

    here: dict[str, F64]
    there: dict[str, F64]


def poses_in_both(
    bundle: MapBundle,
    other: MapBundle,
    works: tuple[Path, Path],
    folder: Path | None,
    calibration: Path | None,
) -> PosesInBoth:
    """Of photos of a folder, localised in both maps; else of those that both were made of.

    Where maps share no photos, of the other map's, localised in this one. works: this map's
    and the other's. Raises MappingError where nothing links the two.
    """
    if folder is not None:
        names = spread(list_photos(folder))
        both = [_poses(localised_photos(b, folder, names, calibration)) for b in (bundle, other)]
        return PosesInBoth(*both)
    if not works[1].is_dir():
        raise MappingError(
            f"{works[1]}: no work folder of the other map; name it with --other-work, or give "
            f"photos that both maps localise with --photos DIR"
        )
    there = mapping_photos(other, works[1])
    if works[0].is_dir():
        shared = _shared(mapping_photos(bundle, works[0]), there)
        if len(shared.here) >= FEWEST:
            log.info("%d photos were mapped in both", len(shared.here))
            return shared
    names = spread([view.name for view in there.views])
    root = _root(there, names)
    here = localised_photos(bundle, root, names, calibration)
    return PosesInBoth(_poses(here), _poses(there))


def _poses(photos: PosedPhotos) -> dict[str, F64]:
    return {view.name: view.cam_from_world for view in photos.views}


def _root(photos: PosedPhotos, names: Sequence[str]) -> Path:
    """The folder that photo names are relative to."""
    path = photos.path(names[0])
    return Path(str(path).removesuffix(names[0])) if str(path).endswith(names[0]) else path.parent


def _shared(first: PosedPhotos, second: PosedPhotos) -> PosesInBoth:
    """By content, so that it does not matter what photos are called."""
    there = {_content(second, view.name): view for view in second.views}
    there.pop(None, None)
    here: dict[str, F64] = {}
    other: dict[str, F64] = {}
    for view in first.views:
        same = there.get(_content(first, view.name))
        if same is not None:
            here[view.name], other[view.name] = view.cam_from_world, same.cam_from_world
    return PosesInBoth(here, other)


def _content(photos: PosedPhotos, name: str) -> str | None:
    """Digest of a photo's file; None where that is gone."""
    try:
        return hashlib.sha256(photos.path(name).read_bytes()).hexdigest()
    except OSError:
        return None
