"""Score methods side by side on photos with reference poses."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command_line.arguments import (
    add_settings_arguments,
    add_signature_argument,
    settings_of,
    whole,
)
from .command_line.program import KNOWN_ERROR, OK, program
from .errors import ConfigError, EdgeRelocError
from .evaluation.chosen import Chosen, extras_syntax, parse_method, shown_methods, syntax
from .evaluation.thresholds import DEFAULTS, TOLERANCES
from .files import check_writable, write_atomic
from .methods.table import EXHAUSTIVE, Settings
from .tiles.tiled_bundle import open_map

if TYPE_CHECKING:
    from .bundle.manifest import Manifest
    from .evaluation.adversarial import MethodScore
    from .evaluation.curves import RetrievalCurve
    from .evaluation.score import Score


@dataclass(frozen=True, kw_only=True)
class _Scene:
    map: Path
    data: Path
    thresholds: str | None  #: None for the usual ones


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc evaluate", description=__doc__)
    parser.add_argument("--map", type=Path, help="map bundle")
    add_signature_argument(parser)
    parser.add_argument(
        "--data", type=Path, help="folder with images/, queries.txt and reference/ (COLMAP model)"
    )
    parser.add_argument(
        "--thresholds",
        help=(
            "accuracy classes, for example 0.5m/2deg or 1%/1deg, the latter relative to the "
            "median distance of the cameras from what they look at "
            f"(default {DEFAULTS[True]}; on maps that are not metric {DEFAULTS[False]})"
        ).replace("%", "%%"),
    )
    parser.add_argument(
        "--scene",
        action="append",
        default=[],
        metavar="MAP=DATA=THRESHOLDS",
        help="one of several scenes in one run, instead of --map, --data, --thresholds",
    )
    parser.add_argument(
        "--methods",
        default=None,
        help=f"comma-separated: {syntax()}; {extras_syntax()} (default: "
        f"those that the bundle can do of {','.join(shown_methods())})",
    )
    parser.add_argument(
        "--every", type=whole(1), default=1, help="score each n-th query (default 1)"
    )
    add_settings_arguments(parser, without=("method", "second_pass", "tracking"))
    parser.add_argument("--output", type=Path, help="write every score and error as JSON")
    parser.add_argument("--plot", type=Path, help="draw error curves into this PNG file")
    parser.add_argument(
        "--stanford", type=Path, help="draw errors against protection levels into this PNG file"
    )
    parser.add_argument(
        "--pit",
        type=Path,
        help="draw histograms of errors in terms of the covariance (probability integral "
        "transforms) along each axis into this PNG file",
    )
    parser.add_argument(
        "--curves",
        type=Path,
        help="draw retrieval curves into this PNG file: share of exhaustive's inlier points "
        "found against share of the map returned",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    _add_adversarial_arguments(parser)
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Score every method on every scene; 0 when all of them could be run."""
    parser = _parser()
    options = parser.parse_args(argv)
    scenes = [_scene(text) for text in options.scene]
    if options.map and options.data:
        scenes.append(_Scene(map=options.map, data=options.data, thresholds=options.thresholds))
    if not scenes:
        parser.error("give --map and --data, or --scene")

    if options.adversarial:
        return _show_wrong_cases(parser, options, scenes)

    from .evaluation.curves import format_curves, retrieval_curves
    from .evaluation.dataset import read_dataset
    from .evaluation.plots import check_plot, plot_curves, plot_errors, plot_pit, plot_stanford
    from .evaluation.score import score_method
    from .evaluation.score_table import format_table
    from .evaluation.thresholds import thresholds_of

    settings = settings_of(options)
    if options.output is not None:
        check_writable(options.output)
    for path in (options.plot, options.stanford, options.pit, options.curves):
        if path is not None:
            check_plot(path)
    scores: list[Score] = []
    curves: list[RetrievalCurve] = []
    unable: list[str] = []
    for scene in scenes:
        bundle = open_map(scene.map, require_signed=options.require_signed)
        dataset = read_dataset(scene.data, every=options.every)
        metric = bundle.manifest.world.metric
        thresholds = thresholds_of(scene.thresholds, metric, str(scene.map))
        own = []
        for method in _methods(options, bundle.manifest, settings):
            show = _progress(dataset.name, method.text)
            try:
                own.append(score_method(bundle, dataset, method, thresholds, show))
            except EdgeRelocError as error:  # of this method: the others are scored all the same
                unable.append(f"{dataset.name}, {scene.map.name}, {method.text}: {error}")
        scores += own
        if options.curves:
            reference = next((s for s in own if s.method == EXHAUSTIVE.name), None)
            if reference is None:
                raise ConfigError(f"--curves: needs '{EXHAUSTIVE.name}' among the --methods")
            curves += retrieval_curves(bundle, dataset, reference)
    values = {
        "scores": [score.to_json() for score in scores],
        "curves": [curve.to_json() for curve in curves],
        "unable": unable,
    }
    tables = [format_table(scores)] if scores else []
    tables += [format_curves(curves)] if curves else []
    _show(options, values, "\n\n".join(tables))
    if options.plot:
        plot_errors(options.plot, scores)
    if options.stanford:
        plot_stanford(options.stanford, scores, settings.alert_limit_m)
    if options.pit:
        plot_pit(options.pit, scores)
    if options.curves:
        plot_curves(options.curves, curves)
    return _tell(unable)


def _add_adversarial_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("wrong cases on purpose")
    group.add_argument(
        "--adversarial",
        action="store_true",
        help="make wrong cases of the photos (mirrored, another focal length, a photo of a photo, "
        "...) and count the poses called OK that are wrong: beyond the one class of --thresholds "
        f"(default {TOLERANCES[True]}; on maps that are not metric {TOLERANCES[False]})".replace(
            "%", "%%"
        ),
    )
    group.add_argument(
        "--cases",
        metavar="NAMES",
        help="comma-separated, or beginnings such as focal,photo (default: all)",
    )
    group.add_argument(
        "--tries",
        type=whole(1),
        default=5,
        metavar="N",
        help="of each case: other photos each time, as --seed draws them, or all there are "
        "(default 5)",
    )
    group.add_argument(
        "--foreign",
        type=Path,
        metavar="FOLDER",
        help="photos of other places: none of them may get a pose, and photos of photos are "
        "shown there (default: the first is left out, the others hang on a plain wall)",
    )


def _show_wrong_cases(
    parser: argparse.ArgumentParser, options: argparse.Namespace, scenes: Sequence[_Scene]
) -> int:
    """`--adversarial`: what methods answer to wrong cases."""
    if options.plot or options.stanford or options.pit or options.curves:
        parser.error("--plot, --stanford, --pit and --curves do not go with --adversarial")

    from .evaluation.adversarial import by_method, format_wrong_cases, score_wrong_cases
    from .evaluation.album import PhotoAlbum
    from .evaluation.dataset import read_dataset
    from .evaluation.stanford import together
    from .evaluation.verdicts import tolerance_of
    from .evaluation.wrong_cases import chosen_cases

    settings = settings_of(options)
    cases = chosen_cases(options.cases)
    if options.output is not None:
        check_writable(options.output)
    scores: list[MethodScore] = []
    unable: list[str] = []
    for scene in scenes:
        bundle = open_map(scene.map, require_signed=options.require_signed)
        dataset = read_dataset(scene.data, every=options.every)
        album = PhotoAlbum(dataset, bundle.manifest, options.foreign)
        tolerance = tolerance_of(
            scene.thresholds, bundle.manifest.world.metric, dataset.size(), str(scene.map)
        )
        for method in _methods(options, bundle.manifest, settings):
            try:
                scores.append(
                    score_wrong_cases(
                        bundle,
                        album,
                        method,
                        tolerance,
                        tries=options.tries,
                        seed=settings.seed,
                        cases=cases,
                        progress=_progress(dataset.name, method.text, "tries"),
                    )
                )
            except EdgeRelocError as error:  # of this method: the others are tried all the same
                unable.append(f"{dataset.name}, {scene.map.name}, {method.text}: {error}")
    values = {
        "adversarial": [score.to_json() for score in scores],
        "tries": sum(score.tries for score in scores),
        "wrong": sum(score.wrong for score in scores),
        "stanford": {
            name: together(score.stanford for score in parts).to_json()
            for name, parts in by_method(scores).items()
        },
        "unable": unable,
    }
    _show(options, values, format_wrong_cases(scores))
    return _tell(unable)


def _show(options: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    """Print and write the results."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    if options.json:
        print(json.dumps(values, allow_nan=False))
    elif text:
        print(text)
    if options.output:
        write_atomic(options.output, json.dumps(values, indent=1, allow_nan=False) + "\n")


def _tell(unable: Sequence[str]) -> int:
    """What could not be scored, and the exit code for it."""
    for line in unable:
        print(f"not scored: {line}", file=sys.stderr)
    return KNOWN_ERROR if unable else OK


def _methods(options: argparse.Namespace, manifest: Manifest, settings: Settings) -> list[Chosen]:
    """Those that were asked for, or those that the bundle can do."""
    texts = options.methods.split(",") if options.methods else shown_methods(manifest)
    return [parse_method(text, settings) for text in texts]


def _scene(text: str) -> _Scene:
    parts = text.split("=")
    if len(parts) not in (2, 3):
        raise ConfigError(f"--scene '{text}': expected MAP=DATA or MAP=DATA=THRESHOLDS")
    return _Scene(
        map=Path(parts[0]),
        data=Path(parts[1]),
        thresholds=parts[2] if len(parts) == 3 else None,
    )


def _progress(scene: str, method: str, what: str = "queries") -> Callable[[int], None]:
    def show(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{scene} {method}: {done} {what}", end="", file=sys.stderr)

    return show


if __name__ == "__main__":
    sys.exit(main())
