"""What each part of scene coordinate regression is good for, at our settings or the paper's.

    python tests/benchmarks/scene_coordinates.py --map MAP --data DATA/SCENE --results FILE.jsonl
        --preset paper --network small --cells 2560 --iterations 500 --seeds 3 [--depth DIR]

As table 4 and figure 4 of SS-DVR: one buffer of cells, a training for each variant and seed, all
scored on the same queries. Each result is a line of FILE, and what is there is not done again:
the same command goes on. Cells are kept beside it. Seeds are paired: a variant's difference from
"all" is taken seed by seed, with its 95 % interval by Student's t. MAP needs its work folder, and
is only read.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_reloc.arrays import F64
from edge_reloc.evaluation.dataset import read_dataset
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.memory.arena import Arena
from edge_reloc.pose.solver import PoseSolver
from edge_reloc.settings import Gate
from edge_reloc.structs import Correspondences
from edge_reloc_export.nets.scene_coordinates import SceneCoordinates
from edge_reloc_export.photos.depth import open_depth_maps
from edge_reloc_export.scene.combine import part_of_photos
from edge_reloc_export.training.scene_coordinates.partition import LabelConfig, Partition, partition
from edge_reloc_export.training.scene_coordinates.photo_cells import Look
from edge_reloc_export.training.scene_coordinates.presets import SceneConfig, preset
from edge_reloc_export.training.scene_coordinates.samples import CellSamples, sample_cells
from edge_reloc_export.training.scene_coordinates.session import EncoderChoice, SceneSession
from edge_reloc_export.training.scene_coordinates.trainer import Batches, SceneTrainer

SHARES = (1.0, 0.75, 0.49, 0.35, 0.25, 0.15)
NEAR_PX = 8.0
STUDENT_95 = (np.nan, 12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365)  # by degrees of freedom


def labels(config: SceneConfig, **values: Any) -> SceneConfig:
    """Another partition."""
    return replace(config, labels=replace(config.labels, **values))


def loss(config: SceneConfig, **values: Any) -> SceneConfig:
    """Another loss."""
    return replace(config, loss=replace(config.loss, **values))


def shape(config: SceneConfig, **values: Any) -> SceneConfig:
    """Another network."""
    return replace(config, shape=replace(config.shape, **values))


#: no depth of any cell is told
BLIND = "reprojection only"

VARIANTS: dict[str, Callable[[SceneConfig], SceneConfig]] = {
    "all": lambda c: c,
    "no structural partition": lambda c: labels(c, structural=1),
    "no semantic partition": lambda c: labels(c, semantic=1),
    "no fusion": lambda c: shape(c, fusion=False),
    "no score": lambda c: replace(loss(c, score=False), kept=1.0),
    # Of the paper's settings, those of ours; of ours, the paper's.
    "score that lives": lambda c: loss(c, alpha_of_median=2.0, score_from=0.15),
    "score as published": lambda c: loss(c, alpha_of_median=0.0, score_from=0.0),
    "errors clamped": lambda c: loss(c, clamp_px=(50.0, 2.0)),
    "lengths in pixels": lambda c: loss(c, in_pixels=True),
    "gamma 10": lambda c: loss(c, gamma=10.0),
    "a centre a place": lambda c: labels(c, by_pair=False, scaled=True),
    "probabilities": lambda c: shape(c, likeliest=False),
    "salient spots": lambda c: replace(c, salient=True),
    "middles of cells": lambda c: replace(c, salient=False),
    BLIND: lambda c: c,
    "a fifth of features hidden": lambda c: replace(c, hidden=0.2),
}


@dataclass(frozen=True, kw_only=True)
class Query:
    """One frame as the encoder sees it."""

    camera: Camera
    reference: F64
    look: Look


class Bench:
    """Cells, labels and queries, each made once for all variants that share them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._sessions: dict[bool, SceneSession] = {}
        self._samples: dict[bool, CellSamples] = {}
        self._queries: dict[bool, list[Query]] = {}
        self._labels: dict[tuple[bool, LabelConfig], Partition] = {}

    def session(self, salient: bool) -> SceneSession:
        if salient not in self._sessions:
            options = self._options
            work = options.map.with_name(options.map.name + ".work")
            choice = EncoderChoice(kind=options.encoder, weights=options.weights, salient=salient)
            self._sessions[salient] = SceneSession(options.map, work, choice, "cpu")
        return self._sessions[salient]

    def samples(self, config: SceneConfig) -> CellSamples:
        if config.salient not in self._samples:
            session, options, maps = self.session(config.salient), self._options, None
            if options.depth:
                maps = open_depth_maps(options.depth, session.model, options.depth_camera, 0.001)
            self._samples[config.salient] = sample_cells(
                session.cells,
                session.model,
                session.store,
                config.buffer,
                maps,
                cache=options.results.with_suffix(".salient" if config.salient else ".middles"),
            )
        return self._samples[config.salient]

    def partition(self, config: SceneConfig) -> Partition:
        key = config.salient, config.labels
        if key not in self._labels:
            session = self.session(config.salient)
            part = part_of_photos(session.store, session.model)
            self._labels[key] = partition(self.samples(config), config.labels, part)
        return self._labels[key]

    def queries(self, config: SceneConfig) -> list[Query]:
        if config.salient not in self._queries:
            cells = self.session(config.salient).cells
            dataset = read_dataset(self._options.data, every=self._options.every)
            self._queries[config.salient] = [
                Query(
                    camera=frame.camera,
                    reference=query.cam_from_world,
                    look=cells.look(frame.image, 0),
                )
                for query, frame in dataset.frames()
            ]
        return self._queries[config.salient]

    def result(self, name: str, config: SceneConfig) -> dict[str, Any]:
        """A line of the results."""
        samples, found = self.samples(config), self.partition(config)
        if name == BLIND:
            samples = replace(samples, depth=np.zeros_like(samples.depth))
            found = partition(samples, config.labels)
        network, trained = train(config, samples, found)
        shares = sorted({config.kept, *SHARES}, reverse=True)
        asked: dict[float, list[Answer]] = {share: [] for share in shares}
        for query in self.queries(config):
            with torch.no_grad():
                said = network(query.look.features())
            for share in shares:
                asked[share].append(answer(query, said.xyz_world, said.score, share, config))
        return {
            **trained,
            **score(asked[config.kept]),
            "kept": {f"{share:g}": score(answers) for share, answers in asked.items()},
        }


def train(
    config: SceneConfig, samples: CellSamples, found: Partition
) -> tuple[SceneCoordinates, dict[str, Any]]:
    """The network, its CPU time, and how well it knows its own cells."""
    with tempfile.TemporaryDirectory() as folder:
        batches = Batches(samples, found, config)
        trainer = SceneTrainer(batches, found, config, Path(folder) / "checkpoint.pt")
        started = time.process_time()
        network = trainer.run(lambda step, error: None)
    ms = 1e3 * (time.process_time() - started) / config.iterations
    _, _, error_px, places = trainer.history[-1]
    return network, {"ms_an_iteration": ms, "own median px": error_px, "own labels": places}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Errors of one pose, infinite without one, and the share of its cells that are right."""

    distance_m: float
    angle_deg: float
    right: float


def answer(
    query: Query, xyz: torch.Tensor, scores: torch.Tensor, share: float, config: SceneConfig
) -> Answer:
    """Of the surest cells."""
    rows = np.argsort(-scores.numpy(), kind="stable")[: round(share * len(scores))]
    matches = Correspondences(Arena(), len(rows))
    matches.n = len(rows)
    matches.xy_px[:], matches.xyz_world[:] = query.look.xy_px[rows], xyz.numpy()[rows]
    matches.weight[:] = scores.numpy()[rows]
    solver = PoseSolver(threshold_px=config.threshold_px, gate=Gate(), seed=0, weighted=True)
    pose = solver.solve(query.camera, matches).cam_from_world
    off = (np.inf, 180.0) if pose is None else pose_error(pose, query.reference)
    there = matches.xyz_world @ query.reference[:3, :3].T + query.reference[:3, 3]
    away = np.linalg.norm(query.camera.project(there) - matches.xy_px, axis=1)
    near = np.nan_to_num(away, nan=np.inf) < NEAR_PX
    return Answer(distance_m=off[0], angle_deg=off[1], right=float(near.mean()))


def score(answers: list[Answer]) -> dict[str, float]:
    """Over all queries."""
    distance = np.array([a.distance_m for a in answers])
    angle = np.array([a.angle_deg for a in answers])
    return {
        "right %": 100 * float(np.mean([a.right for a in answers])),
        "5 cm/5 deg %": 100 * float(np.mean((distance <= 0.05) & (angle <= 5))),
        "10 cm/5 deg %": 100 * float(np.mean((distance <= 0.1) & (angle <= 5))),
        "median cm": 100 * float(np.median(distance)),
        "median deg": float(np.median(angle)),
    }


def table(lines: list[dict[str, Any]], names: list[str]) -> str:
    """Means over seeds, and paired differences from "all" with their 95 % intervals."""
    by: dict[str, dict[int, dict[str, Any]]] = {}
    for line in lines:
        by.setdefault(line["variant"], {})[line["seed"]] = line
    head = ("right %", "5 cm/5 deg %", "10 cm/5 deg %", "median cm")
    rows = ["variant (seeds) | " + " | ".join(head)]
    for name in [n for n in names if n in by]:
        cells = []
        for key in head:
            mean = np.mean([line[key] for line in by[name].values()])
            pairs = sorted(set(by[name]) & set(by.get("all", {})))
            cell = f"{mean:.1f}"
            if name != "all" and pairs:
                cell += f" ({_paired([by[name][s][key] - by['all'][s][key] for s in pairs])})"
            cells.append(cell)
        rows.append(f"{name} ({len(by[name])}) | " + " | ".join(cells))
    every = list(by.get("all", {}).values())
    for share in every[0]["kept"] if every else ():
        means = [np.mean([line["kept"][share][key] for line in every]) for key in head]
        rows.append(f"  all, kept {float(share):.0%} | " + " | ".join(f"{m:.1f}" for m in means))
    return "\n".join(rows)


def _paired(differences: list[float]) -> str:
    n, values = len(differences), np.array(differences)
    if n < 2 or not np.isfinite(values).all():
        return f"{np.mean(values):+.1f}"
    half = STUDENT_95[min(n - 1, len(STUDENT_95) - 1)] * values.std(ddof=1) / np.sqrt(n)
    return f"{values.mean():+.1f} +- {half:.1f}"


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--map", type=Path, required=True)
    add("--data", type=Path, required=True)
    add("--results", type=Path, required=True, help="JSON lines: read, and added to")
    add("--preset", default="quick")
    add("--network", help="of another size than the preset's")
    add("--cells", type=int, help="of a batch, other than the preset's")
    add("--iterations", type=int, default=800)
    add("--copies", type=int, default=2, help="of each photo")
    add("--seeds", type=int, default=1)
    add("--every", type=int, default=2, help="each n-th query")
    add("--encoder", default="waymark")
    add("--weights", type=Path)
    add("--depth", type=Path, help="depth maps of the mapping photos, in millimetres")
    add("--depth-camera", type=Path)
    add("--only", default="", help=f"comma-separated, of {', '.join(VARIANTS)}")
    options = parser.parse_args()
    config = preset(options.preset, iterations=options.iterations)
    size = preset(options.preset, shape=options.network).shape
    # Another size, not another kind of network.
    size = replace(size, likeliest=config.shape.likeliest)
    buffer = replace(config.buffer, total=None, copies=options.copies)
    config = replace(config, shape=size, buffer=buffer, cells=options.cells or config.cells)
    names = options.only.split(",") if options.only else list(VARIANTS)
    text = options.results.read_text() if options.results.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    done = {(line["variant"], line["seed"]) for line in lines}
    bench = Bench(options)
    for seed in range(options.seeds):
        for name in [n for n in names if (n, seed) not in done]:
            found = bench.result(name, VARIANTS[name](replace(config, seed=seed)))
            lines.append({"variant": name, "seed": seed, **found})
            with options.results.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(
                f"{name}, seed {seed}: {found['right %']:.1f} % right, on its own cells "
                f"{found['own median px']:.1f} px; {found['ms_an_iteration']:.0f} ms of CPU a step",
                flush=True,
            )
    print(table(lines, list(VARIANTS)))


if __name__ == "__main__":
    main()
