"""What a map of a million points takes: a real map repeated until it is that large.

    python tests/benchmarks/large_map.py --map maps/kitchen --points 1000000 --output /tmp/large
    edge-reloc profile --map /tmp/large --source FRAMES --budget 384MiB

The copies stand beside the original, each with descriptors turned by a rotation of its
own, so that they compete for matches as other places would. The `cells` head keeps its
weights and gives the copies a share of 0.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import CELL_CENTRE, CELL_RADIUS, CELL_START, DESCRIPTORS, XYZ
from edge_reloc.bundle.points import open_points
from edge_reloc_export.packing.networks import add_network


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True, help="with a 'cells' head")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--share", type=float, default=0.12, help="of the points: candidates")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    bundle = open_bundle(options.map)
    points = open_points(bundle)
    copies = -(-options.points // points.n)
    size = float(np.ptp(points.xyz, axis=0).max())
    generator = np.random.default_rng(0)
    shift = [np.array([2.0 * size * k, 0, 0], np.float32) for k in range(copies)]
    descriptor = np.empty((copies * points.n, points.dim), np.float16)
    for k in range(copies):
        turn = np.linalg.qr(generator.normal(size=(points.dim, points.dim)))[0] if k else None
        original = np.asarray(points.descriptor, np.float32) * points.scale
        here = slice(k * points.n, (k + 1) * points.n)
        descriptor[here] = original if turn is None else original @ turn.astype(np.float32)
    starts = [points.cell_start[:-1] + k * points.n for k in range(copies)]
    head = bundle.manifest.methods["visible_structure"]["heads"]["cells"]
    network = onnx.load(bundle.path(head["network"]))
    widen(network, copies * len(points.cell_radius))
    with extend_bundle(options.map, options.output) as writer:
        writer.add_array(XYZ, np.concatenate([points.xyz + by for by in shift]))
        writer.add_array(DESCRIPTORS, descriptor)
        writer.add_array(
            CELL_START, np.concatenate([*starts, [copies * points.n]]).astype(np.int32)
        )
        writer.add_array(CELL_CENTRE, np.concatenate([points.cell_centre + by for by in shift]))
        writer.add_array(CELL_RADIUS, np.tile(points.cell_radius, copies))
        add_network(writer, head["network"], network.SerializeToString())
        settings = writer.manifest.methods["visible_structure"]
        settings["heads"] = {
            "cells": {**head, "candidates": int(options.share * copies * points.n)}
        }
        writer.manifest.features = replace(bundle.manifest.features, descriptor_scale=1.0)
        writer.manifest.name = f"{bundle.manifest.name} x{copies}"
    print(f"{options.output}: {copies * points.n} points in {copies} copies")
    return 0


def widen(network: onnx.ModelProto, cells: int) -> None:
    """Append zeros to the network's only output, `share` (1,K), up to `cells`."""
    graph = network.graph
    last = next(node for node in graph.node if "share" in node.output)
    last.output[list(last.output).index("share")] = "share.first"
    shape = graph.output[0].type.tensor_type.shape
    more = cells - shape.dim[1].dim_value
    item = graph.output[0].type.tensor_type.elem_type
    graph.value_info.append(helper.make_tensor_value_info("share.first", item, [1, cells - more]))
    graph.initializer.append(
        numpy_helper.from_array(np.zeros((1, more), np.float32), name="share.more")
    )
    graph.node.append(
        helper.make_node("Concat", ["share.first", "share.more"], ["share"], name="widen", axis=1)
    )
    shape.dim[1].dim_value = cells
    onnx.checker.check_model(network)


if __name__ == "__main__":
    sys.exit(main())
