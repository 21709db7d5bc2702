"""What the networks of a bundle are really fed: recorded from a run on photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import cv2
from numpy.typing import NDArray

from edge_reloc.arrays import U8
from edge_reloc.bundle import MapBundle
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.engine import Engine, OnHost
from edge_reloc.inference.engines import Engines
from edge_reloc.localizer import Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings, bundle_networks, variants
from edge_reloc.methods.table import IMAGE_RETRIEVAL
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
    bundle: MapBundle, photos: Sequence[U8], *, threads: int = 0
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
            engines = partial(RecordingEngines, new)
            localizer = Localizer.open(bundle, camera, settings, engines=engines)
            for index, image in enumerate(images):
                # One heading is enough: what counts here is what the photo looks like.
                frame = Frame(image=image, t_ns=index, camera=camera, index=index, quarter_turns=0)
                localizer.localize(frame)
            localizer.close()
            for network, found in new.items():
                feeds.setdefault(network, found)
    return feeds


def _sizes(bundle: MapBundle, photo: U8) -> list[tuple[int, int]]:
    """Input sizes of the feature networks of the map and of its methods."""
    sizes: dict[tuple[int, int], None] = {}
    for network in bundle_networks(bundle.manifest):
        if network.size is not None:
            sizes[network.size] = None
    return list(sizes) or [(photo.shape[1], photo.shape[0])]


def _settings(bundle: MapBundle, threads: int) -> list[Settings]:
    """One for each variant that asks networks of its own, so that every network runs."""
    base = Settings(
        method=IMAGE_RETRIEVAL.name, second_pass=False, threads=threads, calibration_check=False
    )
    trained = {network.role for network in bundle_networks(bundle.manifest)}
    found = [
        method.settings(variant, base)
        for method, variant in variants(bundle.manifest)
        if variant.name in trained
    ]
    return found or [base]
