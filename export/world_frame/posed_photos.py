"""Photos with poses in a map's world: those that it was mapped of, or others, localised."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.layout import XYZ
from edge_reloc.bundle.mapping_cameras import fitting_camera
from edge_reloc.errors import MappingError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings, find_method
from edge_reloc.methods.table import SCENE_COORDINATES
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Status

from ..packing.packed_model import load_packed
from ..photos.exif import PhotoFacts
from ..photos.listing import read_facts
from ..progress import open_bar
from ..scene.combine import open_any_store
from ..scene.model import SceneModel, View
from ..scene.posed import empty_view

log = logging.getLogger(__name__)

MOST_TRIED = 100  # photos that are localised: more add little to a similarity


@dataclass(frozen=True, kw_only=True)
class PosedPhotos:
    """Photos with poses in the map's world, and where their files lie."""

    model: SceneModel  #: without observations where photos were localised
    path: Callable[[str], Path]

    @property
    def views(self) -> list[View]:
        return self.model.views

    def facts(self) -> dict[str, PhotoFacts]:
        """What the headers tell of those photos that are still there."""
        found = {}
        for view in self.views:
            path = self.path(view.name)
            for fact in read_facts(path.parent, [path.name]).values():
                found[view.name] = replace(fact, name=view.name)
        return found


def mapping_photos(bundle: MapBundle, work: Path) -> PosedPhotos:
    """Those that a map was made of, by its work folder. Raises MappingError without one."""
    if not work.is_dir():
        raise MappingError(
            f"{work}: no work folder of this map, and only there stand the poses of its mapping "
            f"photos; name it with --work, or give photos of the place, which are localised in "
            f"the map, with --photos DIR"
        )
    return PosedPhotos(model=load_packed(work, bundle), path=open_any_store(work).photo)


def localised_photos(
    bundle: MapBundle, folder: Path, names: Sequence[str], calibration: Path | None
) -> PosedPhotos:
    """Photos of a folder that the map localises, with its second pass.

    calibration: of all of them (default: the mapping camera that fits). Raises MappingError
    when it localises none.
    """
    camera = None if calibration is None else read_camera(calibration)
    localizers: dict[Camera, Localizer] = {}
    views, reason = [], ""
    with ExitStack() as opened, open_bar(len(names), "localising", "photo") as bar:
        for name in names:
            height, width = read_photo(folder / name).shape[:2]
            own = (camera or fitting_camera(bundle, width, height)[0]).scaled_to(width, height)
            if own not in localizers:
                localizer = Localizer.open(bundle, own, settings_at_best(bundle))
                localizers[own] = opened.enter_context(localizer)
            found = localizers[own].localize(folder / name).estimate
            if found.status is Status.OK and found.cam_from_world is not None:
                views.append(empty_view(name, own, found.cam_from_world, 0))
            else:
                reason = reason or f"{name}: {found.status.value}, {found.reason}"
            bar.update()
    log.info("%s: %d of %d photos localised", bundle.directory, len(views), len(names))
    if not views:
        raise MappingError(
            f"{folder}: {bundle.directory} localises none of its {len(names)} photos; first: "
            f"{reason or 'no photo there'}"
        )
    world = bundle.manifest.world
    model = SceneModel(
        views=views,
        xyz=np.asarray(bundle.array(XYZ), np.float64) if bundle.has(XYZ) else np.zeros((0, 3)),
        metric=world.metric,
        gravity=None if world.gravity is None else np.array(world.gravity),
        georeference=world.georeference,
    )
    return PosedPhotos(model=model, path=lambda name: folder / name)


def settings_at_best(bundle: MapBundle) -> Settings:
    """The map's method at its best."""
    method = find_method(bundle.manifest.method)
    refines = method.name != SCENE_COORDINATES.name  # which has no second pass
    return Settings(engine="onnxruntime", second_pass=refines or None)


def spread(names: Sequence[str], most: int = MOST_TRIED) -> list[str]:
    """At most so many of them, evenly."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
