"""What each part of scene coordinate regression is good for.

    python tests/benchmarks/scene_coordinates.py --map MAP --data DATA/SCENE ... [--depth DIR ...]

Several scenes are those of a combined map. As table 4 and figure 4 of SS-DVR: one buffer of
cells, one short training for each variant, all scored on the same queries. MAP needs its work
folder; nothing is written to either. Printed besides: shares of the cells that are kept, and
inlier thresholds.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge_reloc.evaluation.dataset import Dataset, read_dataset
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import compose, pose_error
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.settings import Gate
from edge_reloc.structs import Correspondences, PoseEstimate
from edge_reloc_export.nets import scene_coordinates
from edge_reloc_export.nets.scene_coordinates import SceneCoordinates
from edge_reloc_export.photos.depth import open_depth_maps
from edge_reloc_export.scene.combine import part_of_photos
from edge_reloc_export.training.scene_coordinates import samples as scene_buffer
from edge_reloc_export.training.scene_coordinates.partition import partition
from edge_reloc_export.training.scene_coordinates.samples import CellSamples, sample_cells
from edge_reloc_export.training.scene_coordinates.session import (
    KEPT,
    THRESHOLD_PX,
    EncoderChoice,
    SceneSession,
)
from edge_reloc_export.training.scene_coordinates.trainer import (
    Batches,
    SceneConfig,
    SceneTrainer,
    preset,
)

SHARES = (1.0, 0.75, KEPT, 0.35, 0.25, 0.15)
NEAR_PX = 8.0
MIDDLE_PX = 4.0  # half a cell: little is observed closer to a middle
THRESHOLDS_PX = (6.0, 8.0, 10.0, 14.0, 20.0)


def main() -> None:
    """Print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--every", type=int, default=2, help="each n-th query")
    parser.add_argument("--iterations", type=int, default=1200)
    parser.add_argument("--encoder", default="waymark")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--depth", type=Path, help="depth maps: a variant more")
    parser.add_argument("--depth-camera", type=Path)
    parser.add_argument(
        "--middle",
        action="store_true",
        help=f"cells speak for their middle; it is what is observed within {MIDDLE_PX:g} px",
    )
    parser.add_argument("--only", default="", help="comma-separated variants (default: all)")
    options = parser.parse_args()
    if options.middle:
        scene_coordinates.SHARPNESS = 0.0
        scene_buffer.SAME_PX = MIDDLE_PX
    work = options.map.with_name(options.map.name + ".work")
    choice = EncoderChoice(kind=options.encoder, weights=options.weights)
    session = SceneSession(options.map, work, choice, "cpu")
    datasets = [read_dataset(data, every=options.every) for data in options.data]
    config = preset("quick", iterations=options.iterations)
    samples = sample_cells(session.cells, session.model, session.store, config.buffer)
    blind = replace(samples, depth=np.zeros_like(samples.depth))
    variants = {
        "all": (samples, config),
        "no structural partition": (samples, replace(config, structural=1)),
        "no semantic partition": (samples, replace(config, semantic=1)),
        "no fusion": (samples, replace(config, shape=replace(config.shape, fusion=False))),
        "no score": (samples, replace(config, score=False)),
        "score as published": (samples, replace(config, alpha_of_median=0.0, score_from=0.0)),
        "a fifth of features hidden": (samples, replace(config, hidden=0.2)),
        "reprojection only": (blind, config),
    }
    if options.depth:
        maps = open_depth_maps(options.depth, session.model, options.depth_camera, 0.001)
        deep = sample_cells(session.cells, session.model, session.store, config.buffer, maps)
        variants["depth maps"] = (deep, config)
    chosen = options.only.split(",") if options.only else list(variants)
    for name in chosen:
        network = _train(*variants[name], part_of_photos(session.store, session.model))
        kept = 1.0 if name == "no score" else KEPT
        for dataset in datasets:
            frames = _ask(network, session, dataset)
            title = f"{name} {dataset.name if len(datasets) > 1 else ''}"
            print(f"{title:<32}{_score(frames, kept, THRESHOLD_PX)}", flush=True)
            if name == "all" and len(datasets) == 1:
                for share in SHARES:
                    title = f"  kept {share:.0%}"
                    print(f"{title:<32}{_score(frames, share, THRESHOLD_PX)}")
                for pixels in THRESHOLDS_PX:
                    title = f"  inliers within {pixels:.0f} px"
                    print(f"{title:<32}{_score(frames, KEPT, pixels)}")


def _train(samples: CellSamples, config: SceneConfig, part: NDArray[np.intp]) -> SceneCoordinates:
    labels = partition(samples, structural=config.structural, semantic=config.semantic, part=part)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SceneTrainer(
            Batches(samples, labels, config), labels, config, Path(folder) / "checkpoint.pt"
        )
        return trainer.run(lambda step, error: None)


F32, F64 = NDArray[np.float32], NDArray[np.float64]
Frames = list[tuple[Camera, F64, F64, F32, F32]]


def _ask(network: SceneCoordinates, session: SceneSession, dataset: Dataset) -> Frames:
    """Camera, reference pose, pixels, coordinates and scores of every query.

    Maps of turned photos: at the heading that gets the most inliers, as the runtime chooses.
    """
    frames: Frames = []
    manifest = session.bundle.manifest
    origin = np.asarray((manifest.world.parts or {}).get(dataset.name, np.zeros(3)))
    for query, frame in dataset.frames():
        reference = query.cam_from_world @ compose(np.eye(3), -origin)
        looks: Frames = []
        for turns in range(4) if manifest.features.turns else [0]:
            look = session.cells.look(frame.image, turns)
            with torch.no_grad():
                said = network(look.features())
            xyz, score = said.xyz_world.numpy(), said.score.numpy()
            looks.append((frame.camera, reference, look.xy_px, xyz, score))
        frames.append(looks[0] if len(looks) == 1 else max(looks, key=_inliers))
    return frames


def _inliers(look: tuple[Camera, F64, F64, F32, F32]) -> int:
    """Of the pose that a look gives; the reference has no say in it."""
    camera, _, xy, xyz, score = look
    return _solve(camera, xy, xyz, score, KEPT, THRESHOLD_PX)[1].inliers


def _solve(
    camera: Camera, xy: F64, xyz: F32, score: F32, share: float, threshold_px: float
) -> tuple[NDArray[np.intp], PoseEstimate]:
    """Rows of the surest cells, and the pose that they give."""
    rows = np.argsort(-score)[: round(share * len(score))]
    matches = Correspondences(Arena(), len(rows))
    matches.n = len(rows)
    matches.xy_px[:], matches.xyz_world[:], matches.weight[:] = xy[rows], xyz[rows], score[rows]
    solver = PoseSolver(threshold_px=threshold_px, gate=Gate(), seed=0, weighted=True)
    return rows, solver.solve(camera, matches)


def _right(camera: Camera, reference: F64, xy: F64, xyz: F32) -> float:
    """Share of cells within NEAR_PX of where the reference pose sees their point."""
    there = xyz @ reference[:3, :3].T + reference[:3, 3]
    off = np.linalg.norm(camera.project(there) - xy, axis=1)
    return float((np.nan_to_num(off, nan=np.inf) < NEAR_PX).mean())


def _score(frames: Frames, share: float, threshold_px: float) -> str:
    errors, good = [], []
    for camera, reference, xy, xyz, score in frames:
        rows, estimate = _solve(camera, xy, xyz, score, share, threshold_px)
        good.append(_right(camera, reference, xy[rows], xyz[rows]))
        found = estimate.cam_from_world
        errors.append((np.inf, 180.0) if found is None else pose_error(found, reference))
    distance, angle = np.array(errors).T
    return (
        f"5 cm/5 deg {np.mean((distance <= 0.05) & (angle <= 5)):6.1%}  "
        f"10 cm/5 deg {np.mean((distance <= 0.1) & (angle <= 5)):6.1%}  "
        f"median {100 * np.median(distance):6.2f} cm {np.median(angle):.2f} deg  "
        f"cells within {NEAR_PX:g} px {np.mean(good):5.1%}"
    )


if __name__ == "__main__":
    main()
