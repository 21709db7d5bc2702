"""Cells of mapping photos with what is known of where they lie: what regression learns from.

ACE (Brachmann, Cavallari, Prisacariu, CVPR 2023), section 3: features are sampled once over
augmented photos and shuffled, so that a batch sees the whole place. A cell's depth comes
from the reconstruction's own observations, from depth maps, or from nowhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pykdtree.kdtree import KDTree

import edge_reloc
from edge_reloc.arrays import F32, F64, I32, U8, Bool
from edge_reloc.sources.photo import read_photo

from ...identity import digest_of
from ...progress import Progress, silent
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel, View
from ..augmentation import COPIES
from .photo_cells import Look, PhotoCells
from .sample_files import PhotoSamples, read_samples, write_samples

Copying = Callable[[U8, np.random.Generator], tuple[U8, F64]]

MOST_THREADS = 8  # each holds the maps of a photo: some 200 MB


class DepthMaps(Protocol):
    """Depth of the mapping photos from elsewhere than the reconstruction.

    Several threads may ask at once.
    """

    def identity(self, view: View) -> str:
        """What the depths of a photo depend on, as a digest."""

    def at(self, view: View, xy_px: F64) -> F32:
        """Depth (N,) along the camera's axis at pixels (N,2) of a photo, 0 for unknown."""


@dataclass(frozen=True, kw_only=True)
class CellSamples:
    """T cells of V photos; lengths in map units."""

    feature: NDArray[np.float16]  #: (T,C)
    view: I32  #: (T,): which photo
    ray: F32  #: (T,2): x/z, y/z of the cell's spot in the photo
    depth: F32  #: (T,) along the camera's axis, 0 for unknown
    rotation: F32  #: (V,3,3) of cam_from_world
    translation: F32  #: (V,3) of cam_from_world
    focal_px: F32  #: (V,)
    usual_depth: F32  #: (V,): of what each photo sees

    def xyz_world(self, rows: NDArray[np.intp]) -> F32:
        """Points (R,3) of cells whose depth is known."""
        ray = np.column_stack([self.ray[rows], np.ones(len(rows), np.float32)])
        view = self.view[rows]
        from_camera = ray * self.depth[rows][:, None] - self.translation[view]
        return np.asarray(np.einsum("nij,ni->nj", self.rotation[view], from_camera), np.float32)


@dataclass(frozen=True, kw_only=True)
class BufferConfig:
    """How much of each photo is sampled."""

    copies: int = 8  #: altered copies of each photo
    unknown: int = 100  #: cells of unknown depth kept of each image
    with_depth: int = 500  #: and of those that only a depth map knows
    any_depth: int | None = None  #: cells kept of each image whatever is known, instead of both
    total: int | None = None  #: cells in all, of as many copies as that takes
    augmentation: str = "strong"  #: how copies are altered, a name of `COPIES`
    seed: int = 0  #: of the copies, and of the cells kept

    def of_photos(self, photos: int) -> BufferConfig:
        """The same with its number of copies worked out."""
        if self.total is None or self.any_depth is None:
            return self
        images = -(-self.total // self.any_depth)
        return replace(self, total=None, copies=max(0, -(-images // max(photos, 1)) - 1))


def sample_cells(
    cells: PhotoCells,
    model: SceneModel,
    store: PhotoStore,
    config: BufferConfig,
    depth_maps: DepthMaps | None = None,
    progress: Progress = silent,
    cache: Path | None = None,
    keep: Bool | None = None,
) -> CellSamples:
    """Sampled cells of every mapping photo, or of those where `keep` (V,), and their copies.

    cache: folder where a photo's cells are kept, one file each; they are sampled again when
    anything that they depend on has changed, or when more copies are asked for.
    """
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)

    def sample(view: View) -> PhotoSamples:
        path = store.photo(view.name)
        identity = _identity(cells, model, view, config, depth_maps, path)
        entry = None if cache is None else cache / f"{digest_of(view.name)}.npz"
        found = None if entry is None else read_samples(entry, identity, config.copies)
        if found is None:
            found = _sample_photo(cells, model, view, config, depth_maps, path)
            if entry is not None:
                write_samples(entry, identity, found)
        return found

    chosen = np.arange(len(model.views)) if keep is None else np.flatnonzero(keep)
    config = config.of_photos(len(chosen))
    parts: list[PhotoSamples] = []
    with _one_thread_a_photo() as map_photos:
        for part in map_photos(sample, [model.views[index] for index in chosen]):
            parts.append(part)
            progress(len(parts), len(chosen))
    pose = np.stack([view.cam_from_world for view in model.views]).astype(np.float32)
    return CellSamples(
        feature=np.concatenate([p.feature for p in parts]),
        view=np.repeat(chosen.astype(np.int32), [len(p.depth) for p in parts]),
        ray=np.concatenate([p.ray for p in parts]),
        depth=np.concatenate([p.depth for p in parts]),
        rotation=pose[:, :3, :3],
        translation=pose[:, :3, 3],
        focal_px=np.array([0.5 * (v.camera.fx + v.camera.fy) for v in model.views], np.float32),
        usual_depth=_usual_depths(model),
    )


@contextmanager
def _one_thread_a_photo() -> Iterator[Callable[..., Iterable[PhotoSamples]]]:
    """`map` over photos on all cores, each of which does one photo's work alone.

    Torch would give every layer of every photo to all cores, which then wait for each other:
    on two cores that others use too, that took five times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(min(len(os.sched_getaffinity(0)), MOST_THREADS))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)  # of an interrupted work
        torch.set_num_threads(threads)


def _identity(
    cells: PhotoCells,
    model: SceneModel,
    view: View,
    config: BufferConfig,
    depth_maps: DepthMaps | None,
    photo: Path,
) -> str:
    """What a photo's cells depend on; copies apart, whose number may be smaller."""
    return digest_of(
        edge_reloc.__version__,
        cells.identity,
        photo,
        view.camera,
        view.quarter_turns,
        view.xy_px,
        observed_depths(model, view),
        replace(config, copies=0),
        None if depth_maps is None else depth_maps.identity(view),
    )


def _sample_photo(
    cells: PhotoCells,
    model: SceneModel,
    view: View,
    config: BufferConfig,
    depth_maps: DepthMaps | None,
    path: Path,
) -> PhotoSamples:
    """Cells of a photo and its copies, the same whatever other photos there are."""
    depths = _Depths(model, view, depth_maps, cells.same_px)
    image = read_photo(path, grey=False)
    seed = int(digest_of(view.name), 16)
    found = []
    for copy_number in range(config.copies + 1):
        generator = np.random.default_rng([config.seed, seed, copy_number])
        copied = COPIES[config.augmentation] if copy_number else None
        look, xy, inside = _look(cells, image, view, copied, generator)
        depth, observed = depths.at(xy)
        rows = _chosen(depth, observed, inside, config, generator)
        found.append(
            PhotoSamples(
                feature=look.features(rows).cpu().numpy().astype(np.float16),
                ray=view.camera.rays_from_pixels(xy[rows]).astype(np.float32),
                depth=depth[rows],
                copy=np.full(len(rows), copy_number, np.int16),
            )
        )
    return PhotoSamples(
        **{f.name: np.concatenate([getattr(p, f.name) for p in found]) for f in fields(found[0])}
    )


def _usual_depths(model: SceneModel) -> F32:
    """(V,): median depth of the points that a photo observes; of all photos for none."""
    depths = [observed_depths(model, view) for view in model.views]
    every = np.median(np.concatenate(depths))
    return np.array([np.median(d) if len(d) else every for d in depths], np.float32)


def observed_depths(model: SceneModel, view: View) -> F64:
    """Depth (K,) of the points that a photo observes."""
    pose = view.cam_from_world
    return np.asarray(model.xyz[view.point_id] @ pose[2, :3] + pose[2, 3])


def _look(
    cells: PhotoCells,
    image: U8,
    view: View,
    copied: Copying | None,
    generator: np.random.Generator,
) -> tuple[Look, F64, Bool]:
    """A photo or an altered copy, where in the photo its cells are, and which are inside."""
    if copied is None:
        look = cells.look(image, view.quarter_turns)
        return look, look.xy_px, np.ones(len(look.xy_px), bool)
    height, width = image.shape[:2]
    other, photo_from_copy = copied(image, generator)
    look = cells.look(other, view.quarter_turns)
    there = cv2.perspectiveTransform(look.xy_px[None], photo_from_copy)[0]
    inside = ((there >= 0) & (there <= np.array([width, height]) - 1)).all(axis=1)
    return look, there.astype(np.float64), inside


class _Depths:
    """What is known of the depths of one photo."""

    def __init__(
        self, model: SceneModel, view: View, maps: DepthMaps | None, same_px: float
    ) -> None:
        self._view, self._maps = view, maps
        depth = observed_depths(model, view)
        ahead = depth > 0
        self._depth = depth[ahead].astype(np.float32)
        self._xy = np.ascontiguousarray(view.xy_px[ahead], np.float64)
        self._radius = same_px * max(view.camera.width, view.camera.height) / 640

    def at(self, xy_px: F64) -> tuple[F32, Bool]:
        """Depth (N,), 0 for unknown, and whether the reconstruction says so."""
        depth = np.zeros(len(xy_px), np.float32)
        if self._maps is not None:
            depth[:] = self._maps.at(self._view, xy_px)
        observed = np.zeros(len(xy_px), bool)
        if len(self._xy):
            distance, nearest = KDTree(self._xy).query(np.ascontiguousarray(xy_px), k=1)
            observed = np.asarray(distance <= self._radius)
            depth[observed] = self._depth[nearest[observed]]
        return depth, observed


def _chosen(
    depth: F32,
    observed: Bool,
    inside: Bool,
    config: BufferConfig,
    generator: np.random.Generator,
) -> NDArray[np.intp]:
    """Every observed cell, some of the others, all inside the photo; or any."""
    if config.any_depth is not None:
        return np.sort(generator.permutation(np.flatnonzero(inside))[: config.any_depth])
    rows = [np.flatnonzero(observed & inside)]
    for others, most in (
        (np.flatnonzero(~observed & (depth > 0) & inside), config.with_depth),
        (np.flatnonzero((depth == 0) & inside), config.unknown),
    ):
        rows.append(generator.permutation(others)[:most])
    return np.sort(np.concatenate(rows))


def of_views(samples: CellSamples, keep: Bool) -> CellSamples:
    """Only the cells of some photos; keep (V,)."""
    rows = np.flatnonzero(keep[samples.view])
    return replace(
        samples,
        feature=samples.feature[rows],
        view=samples.view[rows],
        ray=samples.ray[rows],
        depth=samples.depth[rows],
    )
