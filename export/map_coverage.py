"""Where a map will localise, at which headings and how exactly, before anything flies."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_reloc.command_line.arguments import above_zero
from edge_reloc.command_line.program import OK
from edge_reloc.files import write_atomic

from .interruption import long_program
from .progress import ProgressBar
from .work_folder import existing_work_folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc coverage", description=__doc__)
    add = parser.add_argument
    add("--map", type=Path, required=True, help="map bundle")
    add("--work", type=Path, help="work folder that 'edge-reloc map' left (default MAP.work)")
    add("--calibration", type=Path, help="camera that will fly (default: the mapping camera)")
    add("--step", type=above_zero(), help="between places, map units (default: 300 places)")
    add(
        "--every-deg",
        type=above_zero(180.0),
        default=45.0,
        help="between headings (default 45)",
    )
    add("--height", type=float, help="of the camera (default: as the nearest mapping photos)")
    add(
        "--output",
        type=Path,
        help="folder for coverage.png, .geojson and .json (default MAP.coverage)",
    )
    add("--json", action="store_true", help="print the summary as JSON")
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Predict, write picture, GeoJSON and JSON, print the summary; 0 when done."""
    options = _parser().parse_args(argv)
    from edge_reloc.bundle import open_bundle
    from edge_reloc.bundle.points import open_points
    from edge_reloc.geometry.camera import read_camera
    from edge_reloc.settings import Gate

    from .forecast.coverage_files import Coverage, as_geojson, as_json
    from .forecast.coverage_picture import draw
    from .forecast.heading_grid import make_grid
    from .forecast.left_out_scale import calibrate
    from .forecast.match_rate import learn_rate
    from .forecast.predict import Predictor, forecast, refines
    from .forecast.seen_from import Observations
    from .packing.packed_model import load_packed
    from .scene.combine import open_any_store

    bundle, work = open_bundle(options.map), existing_work_folder(options.map, options.work)
    model = load_packed(work, bundle)
    if options.calibration is not None:
        camera = read_camera(options.calibration)
    else:
        [(camera, _)] = Counter(view.camera for view in model.views).most_common(1)
    grid = make_grid(model, step=options.step, every_deg=options.every_deg, height=options.height)
    observations = Observations(model.views, model.xyz)
    predictor = Predictor(
        observations,
        open_points(bundle),
        learn_rate(observations),
        bundle.manifest.integrity,
        Gate(),
        refines=refines(bundle.manifest),
    )
    output = options.output or options.map.with_name(options.map.name + ".coverage")
    output.mkdir(parents=True, exist_ok=True)  # before the long work
    measured = bundle.manifest.integrity is not None
    if measured and not bundle.manifest.world.parts:  # parts are measured one by one
        with ProgressBar("leaving out", "neighbourhood") as progress:
            calibrate(predictor, options.map, model, open_any_store(work), progress)
    with ProgressBar("places", "place") as progress:
        predictions = forecast(predictor, camera, grid, progress)
    coverage = Coverage(grid=grid, predictions=predictions, world=bundle.manifest.world)
    write_atomic(output / "coverage.json", json.dumps(as_json(coverage)) + "\n")
    write_atomic(output / "coverage.geojson", json.dumps(as_geojson(coverage)) + "\n")
    draw(output / "coverage.png", coverage, model)
    print(json.dumps(coverage.summary()) if options.json else _told(coverage.summary(), output))
    return OK


def _told(summary: dict[str, Any], output: Path) -> str:
    """For the terminal."""
    lines = [
        f"{summary['places']} places {summary['step']:g} {summary['unit']} apart, "
        f"{summary['headings']} headings each: works {summary['works']:.0%}, "
        f"doubtful {summary['doubtful']:.0%}, not {summary['not']:.0%}"
    ]
    if summary["median_sigma"] is not None:
        lines.append(
            f"where it works, the standard deviation is {summary['median_sigma']:.3g} "
            f"{summary['unit']} and {summary['median_sigma_deg']:.2g} deg in the median"
        )
    return "\n".join([*lines, f"{output}: coverage.png, coverage.geojson, coverage.json"])


if __name__ == "__main__":
    sys.exit(main())
