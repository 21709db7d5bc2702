"""Several reconstructions in one map, placed apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_reloc.arrays import F64, finite_numbers
from edge_reloc.errors import MappingError
from edge_reloc.features import FeatureSpec
from edge_reloc.files import write_atomic
from edge_reloc.geometry.rigid import compose

from ..kept_files import read_object
from ..photos.features import FeatureStore, PhotoFeatures, open_store
from .model import SceneModel, View

PARTS_FILE, GRAVITY_FILE = "parts.json", "gravity.json"
GAP_SHARE = 0.5  # free space between parts, relative to the larger neighbour


class PhotoStore(Protocol):
    """Where packing and training get the features of mapping photos."""

    work: Path

    def get(self, name: str) -> PhotoFeatures:
        """Features of one photo."""

    def photo(self, name: str) -> Path:
        """Where the photo itself lies."""

    def network(self, file: str) -> Path:
        """A feature network by the file name in the spec."""


class CombinedStore:
    """Stores of several maps; photos are named `part/photo`."""

    def __init__(self, work: Path, stores: dict[str, FeatureStore]) -> None:
        self.work, self._stores = work, stores

    def get(self, name: str) -> PhotoFeatures:
        """Features of one photo."""
        part, _, photo = name.partition("/")
        return self._stores[part].get(photo)

    def photo(self, name: str) -> Path:
        """Where the photo itself lies."""
        part, _, photo = name.partition("/")
        return self._stores[part].photo(photo)

    def network(self, file: str) -> Path:
        """A feature network by the file name in the spec."""
        for store in self._stores.values():
            if (path := store.network(file)).is_file():
                return path
        raise MappingError(f"{self.work}: no part has the feature network '{file}'")


def open_any_store(work: Path) -> PhotoStore:
    """The store of a work folder, of one map or of several."""
    listing = work / PARTS_FILE
    if not listing.is_file():
        return open_store(work)
    parts = read_object(listing)
    return CombinedStore(work, {name: open_store(Path(str(path))) for name, path in parts.items()})


def part_of_photos(store: PhotoStore, model: SceneModel) -> NDArray[np.intp]:
    """(V,): which map of a combined one each photo is of; 0 for those of a single map."""
    if not isinstance(store, CombinedStore):
        return np.zeros(len(model.views), np.intp)
    names = [view.name.partition("/")[0] for view in model.views]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.intp)


def combine_models(
    models: dict[str, SceneModel],
) -> tuple[SceneModel, dict[str, tuple[float, float, float]]]:
    """One model with the parts side by side along x, and each part's origin."""
    views: list[View] = []
    xyz: list[np.ndarray] = []
    origins: dict[str, tuple[float, float, float]] = {}
    edge, points = 0.0, 0
    for name, model in models.items():
        low, high = np.percentile(model.xyz, [1, 99], axis=0)
        size = float((high - low).max())
        origin = np.array([edge + GAP_SHARE * size - low[0], -low[1], -low[2]])
        edge += (1 + 2 * GAP_SHARE) * size
        origins[name] = (float(origin[0]), float(origin[1]), float(origin[2]))
        xyz.append(model.xyz + origin)
        for view in model.views:
            views.append(
                replace(
                    view,
                    name=f"{name}/{view.name}",
                    cam_from_world=view.cam_from_world @ compose(np.eye(3), -origin),
                    point_id=view.point_id + points,
                )
            )
        points += len(model.xyz)
    return (
        SceneModel(
            views=views,
            xyz=np.concatenate(xyz),
            metric=all(model.metric for model in models.values()),
            notes=[f"combined of {', '.join(models)}"],
        ),
        origins,
    )


def combine_specs(specs: Sequence[FeatureSpec]) -> FeatureSpec:
    """One spec for all parts; MappingError when they speak different features."""
    first = specs[0]
    for spec in specs[1:]:
        if (spec.kind, spec.dim, spec.weights_sha256) != (
            first.kind,
            first.dim,
            first.weights_sha256,
        ):
            raise MappingError(
                f"maps with different features ('{first.kind}' and '{spec.kind}') cannot be "
                f"combined; map both with the same --features and --weights"
            )
    networks = {n.file: n for spec in specs for n in spec.networks}
    return replace(
        first,
        networks=tuple(networks.values()),
        turns=any(spec.turns for spec in specs),
        keypoints=max(spec.keypoints for spec in specs),
    )


def write_parts(work: Path, parts: dict[str, Path], gravity: dict[str, F64 | None]) -> None:
    """Note the parts' work folders for `open_any_store`, and down in each part."""
    work.mkdir(parents=True, exist_ok=True)
    values = {name: str(path.resolve()) for name, path in parts.items()}
    write_atomic(work / PARTS_FILE, json.dumps(values, indent=1) + "\n")
    downs = {name: None if down is None else down.tolist() for name, down in gravity.items()}
    write_atomic(work / GRAVITY_FILE, json.dumps(downs) + "\n")


def part_gravity(work: Path) -> dict[str, F64 | None] | None:
    """Down (3,) in each part of a combined map; None for a single map.

    Of work folders of before it was noted: nothing, so that photos tell it.
    """
    if not (work / PARTS_FILE).is_file():
        return None
    if not (work / GRAVITY_FILE).is_file():
        return dict.fromkeys(read_object(work / PARTS_FILE))
    downs: dict[str, F64 | None] = {}
    for name, told in read_object(work / GRAVITY_FILE).items():
        downs[name] = None if told is None else finite_numbers(told, (3,))
        if told is not None and downs[name] is None:
            raise MappingError(f"{work / GRAVITY_FILE}: damaged ({name}); map again")
    return downs
