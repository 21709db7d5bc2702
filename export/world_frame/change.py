"""A map bundle in another world: whatever it holds in world units or axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle import BundleWriter, MapBundle, World, layout
from edge_reloc.methods import METHODS, bundle_networks

from ..packing.networks import add_network
from ..packing.uncertainty import LARGEST
from ..scene.similarity import Similarity
from .network_output import with_transformed_output

SLACK = 1e-6  # of a radius: what rounding may add


def change_world(
    writer: BundleWriter, bundle: MapBundle, similarity: Similarity, world: World
) -> None:
    """Bring all that a bundle holds into another world.

    similarity: takes the bundle's world to the other. Points, cells and reference frames move;
    networks that answer places get the similarity as their last layers, so that every runtime
    and engine applies it. What is measured in pixels or as a ratio stays.
    """
    unit = "metre" if world.metric else "map unit"
    for name, array in _arrays(bundle, similarity).items():
        writer.add_array(name, array, None if name == layout.DIRECTION else unit)
    manifest = writer.manifest
    for network in bundle_networks(manifest):
        if network.world_output is None:
            continue
        entry = manifest.networks.get(network.file)
        for file in (network.file, entry.float16 if entry else None):
            if file is not None and bundle.has(file):
                content = bundle.path(file).read_bytes()
                output = network.world_output
                moved = with_transformed_output(content, output, similarity, str(bundle.path(file)))
                add_network(writer, file, moved)
    for method in METHODS.values():
        method.scale_lengths(manifest, similarity.scale)
    manifest.world = world
    manifest.parity = {}  # it spoke of other files


def _arrays(bundle: MapBundle, similarity: Similarity) -> dict[str, NDArray[np.generic]]:
    """All arrays that speak of the world, in the other one."""
    scale, rotation = similarity.scale, similarity.rotation
    out: dict[str, NDArray[np.generic]] = {}
    for name in filter(bundle.has, (layout.XYZ, layout.CELL_CENTRE)):
        out[name] = similarity.apply(bundle.array(name).astype(np.float64)).astype(np.float32)
    if bundle.has(layout.CELL_RADIUS):
        rounding = 2 * np.spacing(np.abs(out[layout.CELL_CENTRE]).max())
        radius = bundle.array(layout.CELL_RADIUS).astype(np.float64) * scale
        out[layout.CELL_RADIUS] = (radius * (1 + SLACK) + rounding).astype(np.float32)
    if bundle.has(layout.CELL_OBSERVERS):
        observers = bundle.array(layout.CELL_OBSERVERS).astype(np.float64)
        middle, lengths = similarity.apply(observers[:, :3]), scale * observers[:, 3:]
        out[layout.CELL_OBSERVERS] = np.hstack([middle, lengths]).astype(np.float32)
    if bundle.has(layout.DIRECTION):
        turned = bundle.array(layout.DIRECTION).astype(np.float64) @ rotation.T
        out[layout.DIRECTION] = np.clip(np.rint(turned), -127, 127).astype(np.int8)
    if bundle.has(layout.SIGMA):
        sigma = bundle.array(layout.SIGMA).astype(np.float64) * scale
        out[layout.SIGMA] = np.minimum(sigma, LARGEST).astype(np.float16)
    if bundle.has(layout.LANDMARK_CAM_FROM_WORLD):
        poses = bundle.array(layout.LANDMARK_CAM_FROM_WORLD)
        out[layout.LANDMARK_CAM_FROM_WORLD] = np.stack([similarity.of_pose(p) for p in poses])
    return out
