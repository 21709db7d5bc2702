"""Two maps that overlap become one: the second's photos join the first, their poses known."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.errors import MappingError

from ..photos.features import FeatureStore, open_store
from ..scene.align import transform_model
from ..scene.combine import combine_specs
from ..scene.model import SceneModel
from ..scene.posed import empty_view
from ..scene.similarity import Similarity
from ..world_frame.fit import fit_poses
from ..world_frame.other_map import poses_in_both
from .expectation import known_points
from .extended_work import add_folder, check_base, extend_work, load_base
from .updating import Base, Target, merge_map

log = logging.getLogger(__name__)


def merge_maps(
    maps: tuple[Path, Path], works: tuple[Path, Path], output: Path, work: Path
) -> dict[str, Any]:
    """Write one bundle and its work folder, in the first map's world; what came of it.

    Raises MappingError where the maps have different features, or nothing links them.
    """
    first, second = (open_bundle(path) for path in maps)
    for bundle in (first, second):
        check_base(bundle)
    combine_specs([first.manifest.features, second.manifest.features])
    into_first = _placed(first, second, works)
    store = extend_work(works[0], work)
    base = Base(bundle=first, model=load_base(works[0], first), store=store)
    other = transform_model(load_base(works[1], second), into_first)
    names = _adopt(store, open_store(works[1]), other)
    store.prepare(names.values())
    copies = store.copies([*(view.name for view in base.model.views), *names.values()])
    views = [
        empty_view(name, view.camera, view.cam_from_world, view.quarter_turns)
        for view in other.views
        if (name := names[view.name]) not in copies
    ]
    if not views:
        raise MappingError(f"{maps[1]}: {maps[0]} has all of its {len(names)} photos already")
    nowhere = np.zeros((len(other.xyz), 1), np.float16)
    scouts = known_points(other, nowhere, np.ones(1))
    return merge_map(base, views, scouts, Target(output=output, work=work))


def _placed(first: MapBundle, second: MapBundle, works: tuple[Path, Path]) -> Similarity:
    """From the second map's world to the first's."""
    both = poses_in_both(second, first, (works[1], works[0]), None, None)
    unit = "m" if first.manifest.world.metric else "units"
    source = f"map {first.directory}"
    similarity, _ = fit_poses(both.here, both.there, source=source, unit=unit)
    return similarity


def _adopt(store: FeatureStore, other: FeatureStore, model: SceneModel) -> dict[str, str]:
    """Names under which the store has another one's photos, by the names that they had."""
    names = {}
    for view in model.views:
        folder, _, rest = view.name.partition("/")
        nested = folder in other.others
        label = add_folder(store, other.others[folder] if nested else other.images)
        names[view.name] = f"{label}/{rest if nested else view.name}"
        store.turns[names[view.name]] = view.quarter_turns
    return names
