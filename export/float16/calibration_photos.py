"""Photos that show a network what it will meet, and networks that take them as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_reloc.arrays import U8
from edge_reloc.errors import ConfigError, MappingError, SourceError
from edge_reloc.sources.photo import read_photo

from ..onnx.model_file import load_graph
from ..packing.pack import PACKED_MODEL
from ..photos.listing import list_photos
from ..scene.combine import open_any_store
from ..scene.model import load_model
from ..work_folder import work_folder
from .feeds import Feed

Photos = dict[str, U8]  # BGR, by name


def photos_of(folder: Path, count: int) -> Photos:
    """Up to `count` photos, evenly spread over those of a folder."""
    return _read({name: folder / name for name in list_photos(folder)}, count)


def map_photos(map_dir: Path, count: int) -> Photos:
    """The same of the photos that a map was made of, by its work folder."""
    work = work_folder(map_dir)
    if not work.is_dir():
        raise MappingError(
            f"{work}: no work folder of this map, so its photos are not known; "
            f"name a folder of photos of the place with --photos"
        )
    store = open_any_store(work)
    paths = {view.name: store.photo(view.name) for view in load_model(work / PACKED_MODEL).views}
    return _read(paths, count)


def image_feeds(network: Path, photos: Photos) -> list[Feed]:
    """Photos as feeds of a network with one image input (1,1|3,H,W) in 0..255.

    ConfigError for a network that takes anything else: what it is fed is made by other
    networks, so it has to be exported with its map.
    """
    inputs = load_graph(network).graph.input
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
        raise ConfigError(
            f"{network}: takes {[value.name for value in inputs]} of shape {shapes}, and photos "
            f"feed one image (1,1|3,H,W); leave --photos out, or export it with its --map"
        )
    _, channels, height, width = shapes[0]
    feeds = []
    for photo in photos.values():
        image = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        if channels == 1:
            planes = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[None, None]
        else:
            planes = image[None, :, :, ::-1].transpose(0, 3, 1, 2)
        feeds.append({inputs[0].name: np.ascontiguousarray(planes, np.float32)})
    return feeds


def _read(paths: dict[str, Path], count: int) -> Photos:
    names = sorted(paths)
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, count).astype(int))]
    photos, refused = {}, []
    for name in chosen:
        try:
            photos[name] = read_photo(paths[name], grey=False)
        except SourceError as error:
            refused.append(str(error))
    if not photos:
        raise SourceError(f"no photo could be read; the first: {refused[0]}")
    return photos
