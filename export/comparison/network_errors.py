"""Every network of a bundle: errors of its outputs, and the price of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge_reloc.bundle import MapBundle
from edge_reloc.inference.engine import Engine
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Network

from ..float16.convert import to_float16
from ..float16.feeds import Feed
from ..onnx.layer_names import name_layers
from ..onnx.model_file import load_graph
from .layer_costs import LayerCosts, layer_costs
from .tensors import tensor_errors

SHOWN = 5  # layers in the report's ranking


def compare_networks(
    bundle: MapBundle,
    networks: Sequence[Network],
    feeds: dict[str, list[Feed]],
    programs: dict[str, Path],
    rounded: dict[str, Path],
    wants_layers: Callable[[int], bool],
    show: Callable[[str], None],
) -> list[dict[str, Any]]:
    """One JSON-ready dictionary a network.

    wants_layers: whether to price the layers of a network with that many heavy ones.
    """
    reports = []
    for network in networks:
        show(network.file)
        fed = feeds[network.file]
        float32 = open_engine(bundle.path(network.file), Arena())
        float16 = open_engine(rounded[network.file], Arena())
        reference: Engine = float32
        outputs: dict[str, list[dict[str, Any]]] = {}
        if network.file in programs:
            from .torch_engine import TorchEngine

            reference = TorchEngine(programs[network.file], bundle.path(network.file))
            errors = tensor_errors(reference, float32, fed)
            outputs["onnx float32"] = [error.to_json() for error in errors]
        outputs["float16"] = [e.to_json() for e in tensor_errors(reference, float16, fed)]
        for engine in (float32, float16):
            engine.close()
        costs = _costs(bundle, network, fed, wants_layers)
        reports.append(
            {
                "role": network.role,
                "network": network.file,
                "outputs": outputs,
                "error": None if costs is None else costs.error,
                "layers": [] if costs is None else [list(c) for c in costs.cost[:SHOWN]],
                "proposed_float32": [] if costs is None else list(costs.proposed),
                "error_with_proposal": None if costs is None else costs.error_with_proposal,
            }
        )
    return reports


def _costs(
    bundle: MapBundle,
    network: Network,
    feeds: Sequence[Feed],
    wants_layers: Callable[[int], bool],
) -> LayerCosts | None:
    model = load_graph(bundle.path(network.file))
    name_layers(model)
    islands = bundle.manifest.networks[network.file].islands
    graph = to_float16(model, network.file, keep=islands)
    if not wants_layers(graph.heavy_half):
        return None
    return layer_costs(model, feeds[:2], network.file, keep=islands)
