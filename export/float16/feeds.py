"""What the networks of a bundle are really fed: recorded from a run on photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_reloc.bundle import MapBundle
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.engine import Engine, OnHost
from edge_reloc.inference.engines import Engines
from edge_reloc.localizer import Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.settings import Settings
from edge_reloc.structs import Frame

Feed = dict[str, NDArray[Any]]  # inputs of one inference by name


class Recorder(OnHost):
    """An engine that keeps a copy of what it is fed."""

    def __init__(self, engine: Engine, feeds: list[Feed]) -> None:
        self._engine = engine
        self._feeds = feeds

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Of the engine behind."""
        return self._engine.inputs

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        """Of the engine behind."""
        return self._engine.outputs

    def run(self) -> None:
        """Record, then run."""
        self._feeds.append({name: value.copy() for name, value in self._engine.inputs.items()})
        self._engine.run()

    def close(self) -> None:
        """Of the engine behind."""
        self._engine.close()


class RecordingEngines(Engines):
    """Engines that record into `feeds`, by network."""

    def __init__(
        self, feeds: dict[str, list[Feed]], bundle: MapBundle, arena: Arena, settings: Settings
    ) -> None:
        super().__init__(bundle, arena, threads=settings.threads)
        self._feeds = feeds

    def _open(self, network: str) -> Engine:
        return Recorder(super()._open(network), self._feeds[network])


def record_feeds(
    bundle: MapBundle, photos: Sequence[NDArray[np.uint8]], *, threads: int = 0
) -> dict[str, list[Feed]]:
    """Feeds of every network, by the name of its file, over grey or BGR photos.

    The runtime itself does the work, so a feed is what the device will see. Photos
    are shown at the size of every feature network that the bundle has.
    """
    feeds: dict[str, list[Feed]] = {}
    for width, height in _sizes(bundle, photos[0]):
        camera = Camera(
            model="pinhole",
            width=width,
            height=height,
            fx=float(width),
            fy=float(width),
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
        )
        images = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in photos]
        for settings in _settings(bundle, threads):
            new: dict[str, list[Feed]] = defaultdict(list)
            localizer = Localizer(bundle, camera, settings, partial(RecordingEngines, new))
            for index, image in enumerate(images):
                # One heading is enough: what counts here is what the photo looks like.
                frame = Frame(image=image, t_ns=index, camera=camera, index=index, quarter_turns=0)
                localizer.localize(frame)
            localizer.close()
            for network, found in new.items():
                feeds.setdefault(network, found)
    return feeds


def _sizes(bundle: MapBundle, photo: NDArray[np.uint8]) -> list[tuple[int, int]]:
    sizes = {(n.width, n.height): None for n in bundle.manifest.features.networks}
    for method in bundle.manifest.methods.values():
        for n in method.get("features", {}).get("networks", ()):
            sizes[n["width"], n["height"]] = None
    return list(sizes) or [(photo.shape[1], photo.shape[0])]


def _settings(bundle: MapBundle, threads: int) -> list[Settings]:
    """One for each head and for the other methods, so that every network runs."""
    heads = bundle.manifest.methods.get("visible_structure", {}).get("heads", {})
    base = Settings(method="image_retrieval", second_pass=False, threads=threads)
    found = [replace(base, method="visible_structure", head=head) for head in heads]
    if "landmarks" in bundle.manifest.methods:
        found.append(replace(base, method="landmarks", registration="one_pass"))
    if "scene_coordinates" in bundle.manifest.methods:
        found.append(replace(base, method="scene_coordinates"))
    return found or [base]
