"""Put finished bundles that lie in one world under one index, exchanged in one step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_reloc.arrays import F32, F64
from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.bundle.exchange import WorkFolder, clear_leftovers, link_or_copy
from edge_reloc.bundle.layout import (
    DIRECTION,
    MANIFEST,
    PLACE_MEAN,
    PLACES,
    PLACES_TILE,
    SIGNATURE,
    TILES_FILE,
    TILES_FOLDER,
    TILES_SIGNATURE,
    VIEW_EMBEDDING,
    VIEW_POINT_ID,
    VIEW_START,
    XYZ,
)
from edge_reloc.bundle.manifest import FileEntry
from edge_reloc.bundle.reader import hash_file
from edge_reloc.embedding.spec import VLAD_AND_PLACE
from edge_reloc.errors import BundleError
from edge_reloc.files import cannot_write, unfinished
from edge_reloc.geometry.rigid import FARTHEST
from edge_reloc.methods.table import SCENE_COORDINATES
from edge_reloc.tiles.common_ground import FeatureIdentity, check_fits
from edge_reloc.tiles.index import Point, Tile, TiledMap, check_tile_name, open_tiles

PERCENTILES = (1, 99)  # a few points of any reconstruction lie far away
FEWEST_RAYS = 8
OWN = {
    *(TILES_FILE, TILES_SIGNATURE, unfinished(TILES_SIGNATURE)),
    *(TILES_FOLDER, PLACES, PLACES_TILE),
}


def write_tiles(
    directory: Path,
    bundles: Mapping[str, Path],
    *,
    name: str,
    cameras: Mapping[str, F64] | None = None,
) -> TiledMap:
    """A map of tiles of finished bundles that lie in one world, by the names of the tiles.

    Files are linked where they can be, else copied; what stood at `directory` is replaced in one
    step, and may hold bundles named here. cameras: (V,3) where the photos of each tile were
    taken, world units; of others it is worked out from what the photos saw. Raises BundleError
    when the bundles do not fit together, ConfigError for a name, DiskError.
    """
    if not bundles:
        raise BundleError(f"{directory}: no bundles are named to make tiles of")
    for tile_name in bundles:
        check_tile_name(tile_name)
    opened = {n: open_bundle(path, verify=True) for n, path in bundles.items()}
    first = next(iter(opened.values())).manifest
    features = FeatureIdentity.of(first.features)
    for bundle in opened.values():
        check_fits(first.world, features, bundle.manifest, str(bundle.directory))
        _check_points(bundle)
    folder = _work_folder(directory)
    try:
        tiles = []
        for tile_name, bundle in opened.items():
            _copy(bundle, folder.path / TILES_FOLDER / tile_name, directory)
            tiles.append(_tile(tile_name, bundle, (cameras or {}).get(tile_name)))
        tiled = TiledMap(
            directory=directory,
            name=name,
            world=first.world,
            features=features,
            tiles=tuple(tiles),
            files=_write_places(folder.path, list(opened.values())),
        )
        _write(folder.path / TILES_FILE, tiled.to_json().encode())
        folder.publish()
    except OSError as error:
        total = sum(bundle.nbytes() for bundle in opened.values())
        raise cannot_write(directory, error, total) from error
    finally:
        folder.close()
    return open_tiles(directory)


def photo_positions(bundle: MapBundle) -> F64:
    """(V,3) about where each mapping photo was taken, world units, nan where nothing tells.

    A bundle keeps no poses of its photos, but which points each saw and the mean direction from
    each point to the cameras that saw it. The nearest place to all these rays is drawn to the
    middle of the photos, on a walk of 6.6 m by half a metre at its ends. Points that were seen
    from one side count most.
    """
    if not all(bundle.has(name) for name in (DIRECTION, VIEW_START, VIEW_POINT_ID)):
        return np.full((_photos(bundle), 3), np.nan)
    xyz = np.asarray(bundle.array(XYZ), np.float64)
    towards = np.asarray(bundle.array(DIRECTION), np.float64) / 127
    length = np.maximum(np.linalg.norm(towards, axis=1), 1e-6)
    unit, weight = towards / length[:, None], length**8
    start, ids = bundle.array(VIEW_START), bundle.array(VIEW_POINT_ID)
    centres = np.full((len(start) - 1, 3), np.nan)
    for photo, (a, b) in enumerate(pairwise(start)):
        seen = ids[a:b]
        if len(seen) < FEWEST_RAYS:
            continue
        across = np.eye(3) - unit[seen][:, :, None] * unit[seen][:, None, :]
        across *= weight[seen][:, None, None]
        moment = np.einsum("nij,nj->i", across, xyz[seen])
        normal = across.sum(axis=0)
        if np.linalg.cond(normal) < 1e6:
            centres[photo] = np.linalg.solve(normal, moment)
    return centres


def photo_places(bundle: MapBundle) -> F32:
    """(V,G) place vectors of the mapping photos, unit length; (0,G) where it holds none.

    A bundle keeps u = (p - m) / |p - m| of the unit vector p and the mean m of the map's photos
    (`embedding.place`). So p = m + t u, and |p| = 1 has one solution with t > 0.
    """
    dim, spec = bundle.manifest.features.place_dim, bundle.manifest.embedding
    held = dim and bundle.has(VIEW_EMBEDDING) and bundle.has(PLACE_MEAN)
    if not held or spec is None or spec.kind != VLAD_AND_PLACE:
        return np.zeros((0, dim), np.float32)
    mean = np.asarray(bundle.array(PLACE_MEAN), np.float64)
    unit = np.asarray(bundle.array(VIEW_EMBEDDING), np.float64)[:, -dim:]
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    along = unit @ mean
    t = -along + np.sqrt(np.maximum(along * along + 1.0 - mean @ mean, 0.0))
    place = mean + t[:, None] * unit
    place /= np.maximum(np.linalg.norm(place, axis=1, keepdims=True), 1e-12)
    return np.asarray(place, np.float32)


def _check_points(bundle: MapBundle) -> None:
    """BundleError for a map that no tile can be made of."""
    if bundle.manifest.method == SCENE_COORDINATES.name or not bundle.has(XYZ):
        raise BundleError(
            f"{bundle.directory}: its method holds the place in a feature network of its own "
            f"({SCENE_COORDINATES.name}), so that tiles could not share a frame's features; train "
            f"it with another method"
        )


def _tile(name: str, bundle: MapBundle, cameras: F64 | None) -> Tile:
    xyz = np.asarray(bundle.array(XYZ), np.float64)
    if cameras is None:
        cameras = photo_positions(bundle)
        cameras = cameras[(np.abs(cameras) <= FARTHEST).all(axis=1)]  # nor is nan
    low, high = np.percentile(xyz, PERCENTILES, axis=0)
    of_cameras = (cameras.min(axis=0), cameras.max(axis=0)) if len(cameras) else (low, high)
    content = (bundle.directory / MANIFEST).read_bytes()
    return Tile(
        name=name,
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        low=_point(low),
        high=_point(high),
        cameras_low=_point(of_cameras[0]),
        cameras_high=_point(of_cameras[1]),
        points=len(xyz),
        photos=_photos(bundle),
        nbytes=bundle.nbytes(),
    )


def _photos(bundle: MapBundle) -> int:
    """V."""
    return len(bundle.array(VIEW_START)) - 1 if bundle.has(VIEW_START) else 0


def _point(xyz: F64) -> Point:
    x, y, z = (round(float(v), 4) for v in xyz)
    return x, y, z


def _work_folder(directory: Path) -> WorkFolder:
    """Where the map is filled. BundleError unless a map of tiles or nothing stands there."""
    try:
        target = directory.resolve()
        clear_leftovers(target)
        if directory.exists():
            there = set(os.listdir(directory)) if directory.is_dir() else {directory.name}
            strange = sorted(there - OWN)
            if strange or (there and TILES_FILE not in there):
                raise BundleError(
                    f"{directory}: exists and is not a map of tiles alone"
                    f"{f' (found {strange[0]})' if strange else ''}; it is left as it is, name "
                    f"another folder"
                )
        target.parent.mkdir(parents=True, exist_ok=True)
        return WorkFolder(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before 3.13
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"{directory}: cannot be written ({reason})") from error


def _copy(bundle: MapBundle, target: Path, directory: Path) -> None:
    """A bundle's own files; what was built on a device for it stays there."""
    for name in (MANIFEST, SIGNATURE, *bundle.manifest.files):
        source = bundle.directory / name
        if name == SIGNATURE and not source.is_file():
            continue
        try:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target / name)
        except OSError as error:
            raise cannot_write(directory / name, error, source.stat().st_size) from error


def _write_places(folder: Path, bundles: list[MapBundle]) -> dict[str, FileEntry]:
    """Place vectors of all photos; nothing where the feature network has none."""
    places = [photo_places(bundle) for bundle in bundles]
    if not any(len(place) for place in places):
        return {}
    place = np.concatenate(places).astype(np.float16)
    tile = np.repeat(np.arange(len(places), dtype=np.int32), [len(p) for p in places])
    return {
        PLACES: _write_array(folder / PLACES, place),
        PLACES_TILE: _write_array(folder / PLACES_TILE, tile),
    }


def _write_array(path: Path, array: np.ndarray) -> FileEntry:
    with open(path, "wb") as stream:
        np.save(stream, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    return FileEntry(
        sha256=hash_file(path),
        nbytes=path.stat().st_size,
        dtype=str(array.dtype),
        shape=array.shape,
    )


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
