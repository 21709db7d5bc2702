"""Map, train and score every scene, the combined map and the wrong places.

    python tests/benchmarks/scenes.py --data DATA --weights xfeat.onnx --features xfeat --output out

DATA holds kitchen, caliterra, herz_jesus and fox, each with images/,
mapping.txt, queries.txt and reference/. Maps are kept in the output folder:
what is finished is not made again.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from edge_reloc import evaluate
from edge_reloc_export import combine, map, train

THRESHOLDS = {
    "kitchen": "5cm/5deg,10cm/5deg",
    "caliterra": "0.5m/2deg,1m/5deg",
    "herz_jesus": "5cm/1deg,25cm/2deg",
    "fox": "1%/1deg,5%/5deg",
}
NOT_METRIC = ("fox",)
METHODS = (
    "exhaustive,exhaustive+2,image_retrieval:10,image_retrieval:10+2,"
    "cells,cells+2,generative,generative+2"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="of learned features")
    parser.add_argument("--features", default="sift")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=list(THRESHOLDS))
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--every", default="1", help="score each n-th query")
    parser.add_argument("--combined", action="store_true", help="also all scenes in one map")
    parser.add_argument("--wrong", action="store_true", help="also queries of other scenes")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    maps = {scene: options.output / scene for scene in options.scenes}
    for scene, path in maps.items():
        if not path.exists():
            make_map(scene, path, options)
        train_map(path)
    scenes = [scene_on(maps[s], s, options) for s in options.scenes]
    score(options, "scenes", scenes, options.methods)
    if options.combined:
        everything = options.output / "combined"
        if not everything.exists():
            call(combine.main, "--maps", *maps.values(), "--output", everything)
        train_map(everything)
        scenes = [scene_on(everything, s, options) for s in options.scenes]
        points = "cells:{0},cells:{0}+2,generative:{0}+2".format(twelve_percent(everything))
        score(options, "combined", scenes, f"exhaustive,exhaustive+2,image_retrieval:10,{points}")
    if options.wrong:
        for scene, path in maps.items():
            others = [s for s in options.scenes if s != scene]
            wrong = [scene_on(path, s, options) for s in others]
            score(options, f"wrong_{scene}", wrong, "cells,cells+2,exhaustive+2", curves=False)
    return 0


def make_map(scene: str, path: Path, options: argparse.Namespace) -> None:
    """`edge-reloc map` with the scene's own poses."""
    folder = options.data / scene
    command = ["--images", folder / "images", "--list", folder / "mapping.txt"]
    command += ["--poses", folder / "reference", "--features", options.features, "--gps", "none"]
    if options.weights and options.features != "sift":
        command += ["--weights", options.weights]
    if scene not in NOT_METRIC:
        command.append("--metric")
    call(map.main, *command, "--output", path)


def train_map(path: Path) -> None:
    """`edge-reloc train`, both heads, quick preset, unless it was done."""
    if not (path.with_name(path.name + ".work") / "training.json").exists():
        call(train.main, "--map", path)


def scene_on(path: Path, scene: str, options: argparse.Namespace) -> str:
    """A scene's queries on a map, for `--scene`; in map units where the map has no metres."""
    from edge_reloc.bundle import open_bundle

    text = THRESHOLDS[scene]
    if not open_bundle(path).manifest.world.metric:
        text = re.sub(r"([0-9.]+)cm", lambda cm: f"{float(cm[1]) / 100:g}u", text)
        text = re.sub(r"([0-9.]+)m", r"\1u", text)
    return f"{path}={options.data / scene}={text}"


def twelve_percent(path: Path) -> int:
    """Candidates that are 12 % of a map."""
    from edge_reloc.bundle import open_bundle
    from edge_reloc.bundle.points import open_points

    return int(0.12 * open_points(open_bundle(path)).n)


def score(
    options: argparse.Namespace, name: str, scenes: list[str], methods: str, curves: bool = True
) -> None:
    """`edge-reloc evaluate` on all scenes in one run."""
    print(f"\n== {name}, {options.features} ==", flush=True)
    command = [argument for scene in scenes for argument in ("--scene", scene)]
    command += ["--methods", methods, "--every", options.every]
    command += ["--output", options.output / f"{name}.json"]
    if curves:
        command += ["--curves", options.output / f"{name}_curves.png"]
        command += ["--plot", options.output / f"{name}_errors.png"]
    call(evaluate.main, *command)


def call(program: object, *arguments: object) -> None:
    """Run a program of ours; stop with its exit code when it fails."""
    print("+", program.__module__, *arguments, flush=True)
    code = program([str(argument) for argument in arguments])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
