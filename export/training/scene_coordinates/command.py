"""`edge-reloc train --method scene_coordinates`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_reloc.bundle import open_bundle
from edge_reloc.command_line.arguments import above_zero
from edge_reloc.errors import MappingError
from edge_reloc.methods.scene_coordinates import TrainedSceneCoordinates
from edge_reloc.methods.table import SCENE_COORDINATES

from ...progress import ProgressBar
from ..continued import continued_length
from ..report import TrainingReport


def add_options(parser: argparse.ArgumentParser) -> None:
    """The encoder, and depth maps."""
    add = parser.add_argument_group("of method scene_coordinates").add_argument
    add(
        "--encoder", default="waymark", help="feature network that is its encoder (default waymark)"
    )
    add("--weights", type=Path, help="of the encoder (default: those that ship)")
    add(
        "--depth",
        type=Path,
        metavar="DIR",
        help="depth maps of mapping photos: 16-bit PNG named as the photos, 0 for unknown",
    )
    add(
        "--depth-camera",
        type=Path,
        metavar="JSON",
        help="camera file of the depth maps (default: each photo's own camera, and no offset)",
    )
    add(
        "--depth-unit",
        type=above_zero(),
        default=0.001,
        help="map units of depth 1 (default 0.001)",
    )
    add(
        "--any-grade",
        action="store_true",
        help="put the network into the map even if it does not find mapping photos again",
    )


def train(options: argparse.Namespace, work: Path) -> TrainingReport:
    """Train the regression on the cells of an encoder."""
    from ...photos.depth import open_depth_maps
    from .presets import preset
    from .session import EncoderChoice, SceneSession

    before = _before(options) if options.continued else None
    name = (before and before.preset) or options.preset
    iterations = options.iterations
    if before is not None:
        iterations = continued_length(before.iterations, iterations, preset(name).iterations)
    config = preset(name, iterations=iterations, shape=options.network)
    kind = (before and before.encoder) or options.encoder
    encoder = EncoderChoice(kind=kind, weights=options.weights, salient=config.salient)
    session = SceneSession(options.map, work, encoder, options.device, before)
    depth_maps = None
    if options.depth is not None:
        depth_maps = open_depth_maps(
            options.depth, session.model, options.depth_camera, options.depth_unit
        )
        print(depth_maps.registration)
    sampling = ProgressBar("sampling cells", "photo")
    training = ProgressBar("scene coordinates", watched="median error px")
    with sampling, training:
        return session.train(
            config,
            depth_maps=depth_maps,
            validate=options.validate,
            any_grade=options.any_grade,
            sampling=sampling,
            progress=training,
        )


def _before(options: argparse.Namespace) -> TrainedSceneCoordinates:
    """What the map has; MappingError for nothing."""
    trained = SCENE_COORDINATES.trained(open_bundle(options.map).manifest)
    if trained is None:
        raise MappingError(
            f"{options.map}: has no scene coordinates to go on with; train without --continue"
        )
    return trained
