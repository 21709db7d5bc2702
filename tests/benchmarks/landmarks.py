"""Ablations of landmarks: how many, pruned how far, descriptors how long.

    python tests/benchmarks/landmarks.py --map MAP --data DATA/kitchen --output out/landmarks

MAP is trained with `edge-reloc train --method landmarks` and has its work folder beside it.
As in table 8 of the PRAM paper. Prints one table a question.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from edge_reloc import evaluate
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import DESCRIPTORS
from edge_reloc.retrieval.landmarks import open_landmarks
from edge_reloc_export import export_prune as prune
from edge_reloc_export.packing.birch import birch
from edge_reloc_export.packing.landmarks import (
    PAPER_A_ROOM,
    Landmarks,
    ground_axes,
    write_landmarks,
)
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.packing.pruning import PruningOptions, points_to_keep
from edge_reloc_export.training.landmarks.session import NETWORK
from edge_reloc_export.training.session import replace_network

REGISTRATIONS = "landmarks,landmarks+2,landmark_wise"
NUMBERS = (40, 20, 10, 5, 1)
SHARES = (0.5, 0.25, 0.15)
RADII_PX = (10, 25, 50)
COVERS = (0.8, 0.6, 0.4)
DIMENSIONS = (32, 16, 8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thresholds", default="5cm/5deg,10cm/5deg")
    parser.add_argument("--every", default="1", help="score each n-th query")
    parser.add_argument("--threads", default="0")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--only",
        choices=("numbers", "pruning", "dimensions", "published"),
        help="one question alone",
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.only in (None, "numbers"):
        names = [f"{name}:{n}" for name in ("landmarks", "landmark_wise") for n in NUMBERS]
        score(options, "landmarks tried", [options.map], ",".join(names))
        score(options, "tracking and refinement", [options.map], f"{REGISTRATIONS},landmarks+2+t")
    if options.only in (None, "pruning"):
        maps = [options.map]
        rules = [("--keep", share) for share in SHARES]
        rules += [("--published", "--radius", radius) for radius in RADII_PX]
        rules += [("--published", "--cover", cover) for cover in COVERS[1:]]
        for rule in rules:
            maps.append(options.output / "_".join(["pruned", *map(str, rule)]).replace("--", ""))
            call(prune.main, "--map", options.map, "--output", maps[-1], *rule)
        score(options, "pruning", maps, "exhaustive+2,cells+2,landmarks+2")
    if options.only in (None, "published"):
        published = options.output / "sixteen"
        merge_landmarks(options.map, published, PAPER_A_ROOM)
        methods = "landmarks,landmarks+2,landmark_wise,landmarks_published,landmarks_published+2"
        score(options, "registration with 16 landmarks", [published], methods)
    if options.only in (None, "dimensions"):
        maps = [options.map]
        for dimension in DIMENSIONS:
            maps.append(options.output / f"rank_{dimension}")
            reduce_rank(options.map, maps[-1], dimension)
        score(options, "descriptor size", maps, "exhaustive+2,landmarks,landmarks+2")
    return 0


def merge_landmarks(source: Path, output: Path, number: int) -> None:
    """A map whose landmarks are merged into `number`, and pruned, as published.

    The recogniser stays: the probability of a landmark is the sum of its parts'. So that the
    registration of the paper can be scored without a training of its own.
    """
    bundle = open_bundle(source)
    model = load_packed(source.with_name(source.name + ".work"), bundle)
    label = open_landmarks(bundle).labels(len(model.xyz))
    place = model.xyz @ ground_axes(model.xyz, model.gravity).T
    before = int(label.max())
    centre = np.array([place[label == k].mean(axis=0) for k in range(1, before + 1)])
    merged = np.concatenate([[0], 1 + birch(centre, number)])
    label = merged[label].astype(np.int32)
    view = np.array([
        np.argmax([np.count_nonzero(label[np.unique(v.point_id)] == k) for v in model.views])
        for k in range(1, number + 1)
    ], np.int32)  # fmt: skip
    kept = points_to_keep(model, label, PruningOptions())
    network = onnx.load_from_string(bundle.path(NETWORK).read_bytes())
    graph = network.graph
    (last,) = (node for node in graph.node if "probability" in node.output)
    last.output[:] = ["parts"]
    matrix = np.eye(number + 1, dtype=np.float32)[merged]
    graph.initializer.append(onnx.numpy_helper.from_array(matrix, "merged"))
    graph.node.append(onnx.helper.make_node("MatMul", ["parts", "merged"], ["probability"]))
    graph.output[0].type.tensor_type.shape.dim[2].dim_value = number + 1
    path = output.with_suffix(".onnx")
    path.write_bytes(network.SerializeToString())
    with extend_bundle(source, output) as writer:
        write_landmarks(writer, Landmarks(label=label, kept=kept, view=view), model.views)
        replace_network(writer, NETWORK, path)
    print(f"{output}: {number} landmarks, {kept.sum()} of {(label > 0).sum()} points kept")


def reduce_rank(source: Path, output: Path, dimension: int) -> None:
    """A map whose descriptors hold `dimension` numbers' worth, by PCA.

    They keep their length on disk, so that the runtime compares them as they are: a
    product with a descriptor of a frame is the product of both one's shares in the
    subspace, as it would be if only those were stored.
    """
    descriptor = np.asarray(open_bundle(source).array(DESCRIPTORS), np.float32)
    axes = np.linalg.svd(descriptor, full_matrices=False)[2][:dimension]
    reduced = descriptor @ axes.T @ axes
    reduced /= np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9)
    kept = float(np.linalg.norm(descriptor @ axes.T) ** 2 / np.linalg.norm(descriptor) ** 2)
    with extend_bundle(source, output) as bundle:
        bundle.add_array(DESCRIPTORS, reduced.astype(np.float16))
        spec = bundle.manifest.features
        # A frame's share in the subspace is shorter than the frame's descriptor.
        shorter = spec.min_similarity * float(np.sqrt(kept))
        bundle.manifest.features = replace(spec, min_similarity=shorter)
    print(f"{output}: {dimension} numbers hold {kept:.0%} of the descriptors' squared length")


def score(options: argparse.Namespace, question: str, maps: list[Path], methods: str) -> None:
    """`edge-reloc evaluate` on all maps in one run."""
    print(f"\n== {question} ==", flush=True)
    command = []
    for path in maps:
        command += ["--scene", f"{path}={options.data}={options.thresholds}"]
    command += ["--methods", methods, "--every", options.every, "--threads", options.threads]
    name = question.replace(" ", "_")
    call(evaluate.main, *command, "--output", options.output / f"{name}.json")


def call(program: object, *arguments: object) -> None:
    """Run a program of ours; stop with its exit code when it fails."""
    print("+", program.__module__, *arguments, flush=True)
    code = program([str(argument) for argument in arguments])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    sys.exit(main())
