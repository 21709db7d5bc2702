"""Train the networks of a method for a map, and add them to it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_reloc.command_line.program import program
from edge_reloc.errors import MappingError
from edge_reloc.files import write_atomic

HEADS = ("cells", "generative")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc train", description=__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map bundle to train for")
    parser.add_argument(
        "--work", type=Path, help="work folder that 'edge-reloc map' left (default MAP.work)"
    )
    parser.add_argument(
        "--method",
        choices=("visible_structure", "landmarks", "scene_coordinates"),
        default="visible_structure",
        help="whose networks (default visible_structure)",
    )
    parser.add_argument(
        "--head",
        choices=(*HEADS, "both"),
        default="both",
        help="which head of visible_structure (default both)",
    )
    parser.add_argument(
        "--preset",
        default="quick",
        help="quick (minutes on 2 CPU cores, default) or paper (hours on a GPU)",
    )
    parser.add_argument(
        "--iterations", type=int, help="another length of the schedule (not of head cells)"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument("--samples", type=int, default=1000, help="generated points (default 1000)")
    parser.add_argument("--default-head", choices=HEADS, help="head that the map uses by itself")
    group = parser.add_argument_group("of method landmarks")
    group.add_argument("--landmarks", type=int, help="how many (default: as the scene asks for)")
    group.add_argument(
        "--dimensions",
        type=int,
        choices=(2, 3),
        default=2,
        help="cluster on the ground plane (2, default) or in space (3)",
    )
    parser.add_argument(
        "--network",
        help="small or paper (default: the preset's), of landmarks or scene_coordinates",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="leave blocks of mapping photos out: landmarks reports recognition on them, "
        "scene_coordinates chooses by them, in a shorter training, which cells to keep",
    )
    group = parser.add_argument_group("of method scene_coordinates")
    group.add_argument(
        "--encoder", default="waymark", help="feature network that is its encoder (default waymark)"
    )
    group.add_argument("--weights", type=Path, help="of the encoder (default: those that ship)")
    group.add_argument(
        "--depth",
        type=Path,
        metavar="DIR",
        help="depth maps of mapping photos: 16-bit PNG named as the photos, 0 for unknown",
    )
    group.add_argument(
        "--depth-camera",
        type=Path,
        metavar="JSON",
        help="camera file of the depth maps (default: each photo's own camera, and no offset)",
    )
    group.add_argument(
        "--depth-unit", type=float, default=0.001, help="map units of depth 1 (default 0.001)"
    )
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Exit code of the program."""
    options = _parser().parse_args(argv)
    started = time.perf_counter()
    work = options.work or options.map.with_name(options.map.name + ".work")
    if not work.is_dir():
        raise MappingError(
            f"{work}: no work folder of this map; name it with --work, "
            f"or map again with 'edge-reloc map'"
        )
    if options.method == "landmarks":
        return _landmarks(options, work, started)
    if options.method == "scene_coordinates":
        return _scene_coordinates(options, work, started)
    from .training.visible_structure.session import TrainingSession

    session = TrainingSession(options.map, work)
    results = {}
    if options.head in ("cells", "both"):
        results["cells"] = session.train_cells(_progress("cells"))
    if options.head in ("generative", "both"):
        results["generative"] = session.train_generative(
            options.preset,
            iterations=options.iterations,
            device=options.device,
            samples=options.samples,
            progress=_progress("generative"),
        )
    session.write(default_head=options.default_head)
    write_atomic(work / "training.json", json.dumps(results, indent=1) + "\n")
    for head, result in results.items():
        recall = ", ".join(
            f"{100 * r:.0f} % in {100 * s:.0f} %"
            for s, r in zip(result["share"], result["recall"], strict=True)
            if s in (0.1, 0.2, 0.3)
        )
        print(
            f"{head}: {result['seconds']:.1f} s, visible points found on held-out photos: "
            f"{recall} of the map; {result['candidates']} candidates"
        )
    print(f"{options.map}: trained in {time.perf_counter() - started:.1f} s; report in {work}")
    return 0


def _landmarks(options: argparse.Namespace, work: Path, started: float) -> int:
    from .packing.landmarks import LandmarkOptions
    from .training.landmarks.session import LandmarkSession
    from .training.landmarks.trainer import preset

    config = preset(options.preset, iterations=options.iterations, shape=options.network)
    session = LandmarkSession(
        options.map,
        work,
        LandmarkOptions(number=options.landmarks, dimensions=options.dimensions),
    )
    photos = _progress("keypoints")
    result = session.train(
        config,
        validate=options.validate,
        device=options.device,
        progress=_progress("landmarks"),
        labelling=lambda done, total: photos(done, total, 0.0),
    )
    write_atomic(work / "training_landmarks.json", json.dumps(result, indent=1) + "\n")
    print(
        f"{result['landmarks']} landmarks, {result['recognised']:.1%} of their keypoints "
        f"recognised on {result['on']}"
    )
    print(f"{options.map}: trained in {time.perf_counter() - started:.1f} s; report in {work}")
    return 0


def _scene_coordinates(options: argparse.Namespace, work: Path, started: float) -> int:
    from .photos.depth import open_depth_maps
    from .training.scene_coordinates.session import EncoderChoice, SceneSession
    from .training.scene_coordinates.trainer import preset

    config = preset(options.preset, iterations=options.iterations, shape=options.network)
    encoder = EncoderChoice(kind=options.encoder, weights=options.weights)
    session = SceneSession(options.map, work, encoder, options.device)
    depth_maps = None
    if options.depth is not None:
        depth_maps = open_depth_maps(
            options.depth, session.model, options.depth_camera, options.depth_unit
        )
        print(depth_maps.registration)
    photos = _progress("cells")
    result = session.train(
        config,
        depth_maps=depth_maps,
        validate=options.validate,
        progress=_progress("scene coordinates"),
        sampling=lambda done, total: photos(done, total, 0.0),
    )
    write_atomic(work / "training_scene_coordinates.json", json.dumps(result, indent=1) + "\n")
    print(
        f"{result['cells']} cells, {result['known_depth']:.0%} of known depth; their median "
        f"reprojection error {result['history'][-1][2]:.1f} px; the best "
        f"{result['kept']:.0%} of a frame's cells are kept"
    )
    print(f"{options.map}: trained in {time.perf_counter() - started:.1f} s; report in {work}")
    return 0


def _progress(name: str) -> Callable[[int, int, float], None]:
    from tqdm import tqdm

    bar: list[tqdm] = []  # type: ignore[type-arg]

    def show(step: int, total: int, loss: float) -> None:
        if not bar:
            bar.append(tqdm(total=total, desc=name, unit="step", initial=step))
        bar[0].set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar[0].update(step - bar[0].n)
        if step >= total:
            bar[0].close()

    return show


if __name__ == "__main__":
    sys.exit(main())
