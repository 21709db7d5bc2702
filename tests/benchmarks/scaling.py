"""How time, memory and accuracy change with a map's size: worlds of `large_world.py` side by side.

    python tests/benchmarks/scaling.py --worlds worlds/* --frames 20 --output scaling.json
    python tests/benchmarks/scaling_plot.py scaling.json --plot docs/scaling.png

Every frame is asked of every world in turn by every method, so that whatever else the machine
does strikes all of them alike; times are the thread's own (CPU), after one extraction that
all share. Each frame is a query of the original place and of another place, whose
descriptors are turned as that place's are; in a world of one place, of that alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from large_world import DEMO, Places, places_of

from edge_reloc import structs
from edge_reloc.arrays import F64
from edge_reloc.bundle import open_bundle
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.inference.engines import Engines
from edge_reloc.localizer import Extracted, Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import assemble
from edge_reloc.reference.truth import read_truth
from edge_reloc.sources import open_source
from edge_reloc.structs import Features, Frame

METHODS = (
    "cells+2",
    "generative+2",
    "landmarks+2",
    "image_retrieval:10+2",
    "exhaustive+2",
    "cells+2+t",
)
SEARCH_EVERY = 1 << 30  # once tracked, stay so: the search is timed by the others


class TurnedEmbedder:
    """An embedder that answers as from another place."""

    def __init__(self, embedder: Any, places: Places) -> None:
        self._embedder, self._places = embedder, places
        self.dim, self.place = embedder.dim, 0

    def embed(self, frame: Frame, features: Features) -> None:
        """As of the original, then turned. The descriptors are still the original's."""
        self._embedder.embed(frame, features)
        features.embedding[:] = self._places.embedding.turned(self.place, features.embedding)
        rows = features.descriptor[: features.n]
        rows[:] = self._places.descriptor.turned(self.place, rows)


@dataclass(kw_only=True)
class Asked:
    """One method in one world."""

    world: str
    method: str
    localizer: Localizer
    places: Places
    embedder: TurnedEmbedder | None

    def locate(self, frame: Frame, source: Features, place: int) -> Any:
        """The frame as if it had been taken in a place."""
        own = self.localizer._line.slots[0]
        n = own.n = source.n
        for name in ("xy_px", "score", "descriptor"):
            getattr(own, name)[:n] = getattr(source, name)[:n]
        own.place[:] = source.place
        own.camera = source.camera
        if self.embedder is not None and not self.localizer.settings.tracking:
            self.embedder.place = place  # turns when it has embedded
        else:
            own.descriptor[:n] = self.places.descriptor.turned(place, own.descriptor[:n])
        extracted = Extracted(frame=frame, camera=own.camera, features=own, laps={})
        return self.localizer.locate(extracted)


def opened(world: Path, method: str, camera: Camera) -> Asked:
    """A localiser whose frames may come from any place."""
    bundle = open_bundle(world)
    facts = bundle.manifest.statistics
    places = places_of(bundle, facts.get("places", 1), facts.get("aliasing", 1.0))
    settings = parse_method(method, Settings(threads=1, search_every=SEARCH_EVERY)).settings
    line = assemble(bundle, camera, settings, Engines(bundle, Arena(), threads=1))
    embedder = None if line.embedder is None else TurnedEmbedder(line.embedder, places)
    localizer = Localizer(replace(line, embedder=embedder))
    return Asked(
        world=world.name, method=method, localizer=localizer, places=places, embedder=embedder
    )


def row(asked: Asked, frame: Frame, source: Features, place: int, truth: F64) -> dict[str, Any]:
    """One answer: where, how long, how far off."""
    localizer = asked.localizer
    begun = time.thread_time_ns()
    found = asked.locate(frame, source, place).estimate
    elapsed = (time.thread_time_ns() - begun) * 1e-6
    shifted = truth.copy()
    shifted[:3, 3] -= truth[:3, :3] @ asked.places.shift[place]
    error = None
    if found.cam_from_world is not None:
        error = [float(number) for number in pose_error(found.cam_from_world, shifted)]
    assert localizer.points is not None
    return {
        "world": asked.world,
        "points": localizer.points.n,
        "method": asked.method,
        "frame": frame.name,
        "place": place,
        "ms": elapsed,
        "stages_ms": found.stages_ms,
        "candidates": found.candidates,
        "tracked": found.tracked,
        "error": error,
        "arena_mb": localizer.arena_bytes / 1e6,
        "map_mb": localizer.map_bytes / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=Path, nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--scene", type=Path, default=DEMO.parent, help="frames/, truth/, camera")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--every", type=int, default=4, help="of the frames one (tracking: all)")
    parser.add_argument(
        "--whole-cone",
        action="store_true",
        help="look for all cells of the viewing cone, as in maps that do not tell who saw them",
    )
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    structs.time = SimpleNamespace(perf_counter_ns=time.thread_time_ns)  # type: ignore[attr-defined]
    camera = read_camera(options.scene / "camera.json")
    truth = read_truth(options.scene / "truth")
    frames = list(open_source(options.scene / "frames", camera))
    extractor = opened(options.worlds[0], "exhaustive", camera).localizer
    rows: list[dict[str, Any]] = []
    for method in options.methods:
        worlds = [opened(world, method, camera) for world in options.worlds]
        for asked in worlds if options.whole_cone else ():
            asked.localizer._line.second_pass._guided._cells._from = None  # type: ignore[union-attr]
            asked.method = f"{method} whole cone"
        step = 1 if method.endswith("+t") else options.every
        for index, frame in enumerate(frames[::step][: options.frames]):
            source = extractor.extract(frame).features
            for asked in worlds:
                other = 1 + index % max(asked.places.count - 1, 1)
                asks = {0, min(other, asked.places.count - 1)} if step > 1 else {0}
                if index == 0:  # for the first time it takes
                    asked.locate(frame, source, 0)
                    asked.localizer.search_next()
                for place in sorted(asks):
                    rows.append(row(asked, frame, source, place, truth[frame.name]))
        for asked in worlds:
            asked.localizer.close()
        print(f"{method}: {sum(r['method'].startswith(method) for r in rows)} answers", flush=True)
        write_atomic(options.output, json.dumps(rows).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
