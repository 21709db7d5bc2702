"""Where a comparison gets its frames and torch's form of the networks from."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_reloc.bundle import MapBundle
from edge_reloc.bundle.reader import hash_file
from edge_reloc.errors import SourceError
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.geometry.camera import read_camera
from edge_reloc.methods import Network
from edge_reloc.running.demo import DEMO
from edge_reloc.sources import open_source
from edge_reloc.structs import Frame

from ..scene.combine import open_any_store

log = logging.getLogger(__name__)


def bundle_frames(bundle: MapBundle, options: argparse.Namespace) -> list[Frame]:
    """The frames that the command line asks for. Raises SourceError."""
    if options.data is not None:
        frames = [frame for _, frame in read_dataset(options.data, every=options.every).frames()]
    else:
        path = str(DEMO / "frames") if options.demo else options.source
        calibration = DEMO / "camera.json" if options.demo else options.calibration
        if calibration is None:
            raise SourceError(f"{path}: --source needs the camera's file, name it: --calibration")
        source = open_source(path, read_camera(calibration))
        try:
            # Sources may use their image buffer again.
            frames = [replace(frame, image=frame.image.copy()) for frame in source]
        finally:
            source.close()
        frames = frames[:: options.every]
    if not frames:
        raise SourceError(f"{options.data or options.source}: no frame to compare on")
    return frames


def torch_programs(bundle: MapBundle, networks: Sequence[Network], work: Path) -> dict[str, Path]:
    """Torch's program (.pt2) of every network by its file; empty when one is missing.

    Only programs that were exported together with the very file in the bundle count.
    """
    found: dict[str, Path] = {}
    for network in networks:
        onnx_file = _exported(network.file, work)
        program = onnx_file.with_suffix(".pt2") if onnx_file else None
        if onnx_file is None or program is None or not program.is_file():
            log.info("torch's form of '%s' is not in %s: left out", network.file, work)
            return {}
        if hash_file(onnx_file) != bundle.manifest.files[network.file].sha256:
            log.info("%s is not the network of the bundle: torch is left out", onnx_file)
            return {}
        found[network.file] = program
    return found


def _exported(file: str, work: Path) -> Path | None:
    for path in (work / file, work / Path(file).name):
        if path.is_file():
            return path
    try:
        path = open_any_store(work).network(file)
    except Exception:
        return None
    return path if path.is_file() else None
