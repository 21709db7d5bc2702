"""The names of a bundle's files, relative to its folder."""

from __future__ import annotations

from pathlib import PurePosixPath

MANIFEST = "manifest.json"
#: of the manifest's bytes, where somebody vouches for the map: `signing`
SIGNATURE = "manifest.sig"
#: what TensorRT made on this device, for it: inside the folder, but not of the map
ENGINES = "engines"

# A map of tiles, each a bundle of its own: `tiles.index`.
TILES_FILE = "tiles.json"
#: of the index's bytes
TILES_SIGNATURE = "tiles.sig"
#: folder of the bundles
TILES_FOLDER = "tiles"
PLACES, PLACES_TILE = "places.npy", "places_tile.npy"

# The map points, sorted by cell: `points.PointMap`.
XYZ = "points/xyz.npy"
DESCRIPTORS = "points/descriptors.npy"
DIRECTION = "points/direction.npy"
SIGMA = "points/sigma.npy"
CELL_START = "cells/start.npy"
CELL_CENTRE = "cells/centre.npy"
CELL_RADIUS = "cells/radius.npy"
CELL_OBSERVERS = "cells/observers.npy"

# The image embedding: `embedding.vlad.Vlad`, `embedding.place.VladAndPlace`.
VLAD_CENTROIDS = "embedding/centroids.npy"
VLAD_MEAN = "embedding/mean.npy"
VLAD_PROJECTION = "embedding/projection.npy"
PLACE_MEAN = "embedding/place_mean.npy"

# The mapping photos, and which points each of them saw.
VIEW_EMBEDDING = "views/embedding.npy"
VIEW_START = "views/start.npy"
VIEW_POINT_ID = "views/point_id.npy"

# Landmarks, their points, and the photo that sees most of each.
LANDMARK_START = "landmarks/start.npy"
LANDMARK_POINT_ID = "landmarks/point_id.npy"
LANDMARK_CAM_FROM_WORLD = "landmarks/cam_from_world.npy"
LANDMARK_CAMERA = "landmarks/camera.npy"

# Start and ids of the lists that name points: whoever renumbers points renumbers these.
POINT_LISTS = ((VIEW_START, VIEW_POINT_ID), (LANDMARK_START, LANDMARK_POINT_ID))


def network_file(role: str) -> str:
    """The float32 ONNX file of a network."""
    return f"nets/{role}.onnx"


def float16_file(network: str) -> str:
    """The float16 version of a float32 file, beside it or instead of it."""
    path = PurePosixPath(network)
    return str(path.with_name(f"{path.stem}.fp16.onnx"))
