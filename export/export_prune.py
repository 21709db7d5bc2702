"""A map with fewer points: those that cover the mapping photos best."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_reloc.command_line.program import program

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_reloc.bundle import MapBundle

    from .scene.model import SceneModel


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc export prune", description=__doc__)
    add = parser.add_argument
    add("--map", type=Path, required=True, help="map bundle, trained for its methods")
    add("--output", type=Path, help="bundle to write (default: replace the map)")
    add("--work", type=Path, help="work folder of the map (default MAP.work)")
    add("--keep", type=float, default=0.5, help="share of the points that stays (default 0.5)")
    add("--json", action="store_true", help="print JSON")
    group = parser.add_argument_group("as published with PRAM, landmark by landmark")
    add = group.add_argument
    add("--published", action="store_true", help="of neighbours seen together one stays")
    add("--radius", type=float, default=25.0, help="px that a kept point stands for (default 25)")
    add("--cover", type=float, default=0.8, help="share of a landmark to be seen (default 0.8)")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    options = _parser().parse_args(argv)
    from edge_reloc.bundle import extend_bundle, open_bundle
    from edge_reloc.bundle.points import open_points

    from .packing.covering_points import points_that_cover
    from .packing.drop_points import drop_points
    from .packing.packed_model import load_packed
    from .packing.pruning import PruningOptions, points_to_keep

    pruning = PruningOptions(radius_px=options.radius, cover=options.cover)
    work = options.work or options.map.with_name(options.map.name + ".work")
    bundle = open_bundle(options.map)
    points = open_points(bundle)
    model = load_packed(work, bundle)
    if options.published:
        label = _label(bundle, model, work)
        already = _pruned(bundle) and pruning == PruningOptions()
        keep = label > 0 if already else points_to_keep(model, label, pruning)
    else:
        keep = points_that_cover(model, options.keep)
    with extend_bundle(options.map, options.output) as writer:
        drop_points(writer, bundle, keep)
    target = options.output or options.map
    after = open_bundle(target)
    megabytes = [round(b.nbytes() / 1e6, 2) for b in (bundle, after)]
    summary = {"points": [points.n, int(keep.sum())], "megabytes": megabytes}
    if options.json:
        print(json.dumps(summary))
    else:
        print(f"{target}: {keep.sum()} of {points.n} points, {megabytes[1]} of {megabytes[0]} MB")
    return 0


def _pruned(bundle: MapBundle) -> bool:
    """Whether its landmarks hold no more than the points that pruning keeps."""
    from edge_reloc.methods.landmarks import PUBLISHED
    from edge_reloc.methods.table import LANDMARKS

    trained = LANDMARKS.trained(bundle.manifest)
    return trained is not None and trained.registration == PUBLISHED


def _label(bundle: MapBundle, model: SceneModel, work: Path) -> NDArray[np.int32]:
    """(P,): landmarks of the map, or made now where it has none."""
    from edge_reloc.bundle import layout
    from edge_reloc.retrieval.landmarks import open_landmarks

    from .packing.landmarks import LandmarkOptions
    from .training.landmarks.session import landmarks_of

    points = len(model.xyz)
    if not bundle.has(layout.LANDMARK_START):
        return landmarks_of(model, work, LandmarkOptions()).label
    return open_landmarks(bundle).labels(points)
