"""Poses of a scene's queries by one method: `python -m edge_reloc_export.benchmark.localize`.

It knows the queries' names and cameras, and none of their reference poses.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from edge_reloc.bundle.layout import float16_file
from edge_reloc.bundle.reader import MapBundle, open_bundle
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import SourceError
from edge_reloc.evaluation.chosen import parse_method
from edge_reloc.evaluation.dataset import FRAME_NS
from edge_reloc.files import write_atomic
from edge_reloc.geometry.camera import Camera
from edge_reloc.localizer import Localizer
from edge_reloc.memory.process import read_memory
from edge_reloc.methods import Settings
from edge_reloc.sinks.jsonl import JsonlSink
from edge_reloc.sources.photo import load_photo
from edge_reloc.structs import Frame

from ..datasets.pose_files import listed_cameras
from ..datasets.prepare import QUERIES


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Write a line for every query and, beside them, what the method took."""
    parser = argparse.ArgumentParser(prog="edge_reloc_export.benchmark.localize")
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--scene", type=Path, required=True, help="prepared folder of a data set")
    parser.add_argument("--method", required=True, help="as 'edge-reloc evaluate' takes it")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, help="each n-th query")
    parser.add_argument("--output", type=Path, required=True, help="poses.jsonl")
    options = parser.parse_args(argv)
    queries = listed_cameras(options.scene / QUERIES)[:: options.every]
    if not queries:
        raise SourceError(f"{options.scene / QUERIES}: no queries")
    bundle = open_bundle(options.map)
    chosen = parse_method(options.method, Settings(threads=options.threads))
    localizers: dict[Camera, Localizer] = {}
    unfinished = options.output.with_suffix(".part.jsonl")
    with ExitStack() as stack:
        sink = stack.enter_context(closing(JsonlSink(unfinished)))
        grey = not bundle.manifest.sees_colour
        for name, frame in _frames(options.scene / "images", queries, grey):
            camera = frame.camera
            assert camera is not None
            if camera not in localizers:
                localizers[camera] = stack.enter_context(
                    Localizer.open(bundle, camera, chosen.settings)
                )
                localizers[camera].warm_up(frame)
            sink.write(localizers[camera].localize(frame).estimate)
            print(name, flush=True)
        facts = {
            "peak_bytes": read_memory().peak_bytes,
            "map_bytes": bundle.nbytes(bundle.used),
            "network_bytes": bundle.nbytes(bundle.used & of_any_place(bundle)),
        }
    write_atomic(options.output.with_suffix(".facts.json"), json.dumps(facts) + "\n")
    unfinished.replace(options.output)
    return OK


def of_any_place(bundle: MapBundle) -> set[str]:
    """Networks of features and embedding; all others were trained for this map alone."""
    files = {network.file for network in bundle.manifest.features.networks}
    if bundle.manifest.embedding is not None and bundle.manifest.embedding.network is not None:
        files.add(bundle.manifest.embedding.network)
    return files | {float16_file(name) for name in files}


def _frames(
    images: Path, queries: Sequence[tuple[str, Camera]], grey: bool
) -> Iterator[tuple[str, Frame]]:
    for index, (name, camera) in enumerate(queries):
        photo = load_photo(images / name, grey)
        height, width = photo.image.shape[:2]
        yield (
            name,
            Frame(
                image=photo.image,
                t_ns=index * FRAME_NS,
                camera=camera.scaled_to(width, height),
                index=index,
                name=name,
                upright_turns=photo.upright_turns,
            ),
        )


if __name__ == "__main__":
    sys.exit(main())
