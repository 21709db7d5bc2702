"""An ONNX file as TensorRT reads it: parsed, checked, and listed layer by layer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.errors import EngineError

from .flavour import Flavour

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of the strongly typed network: what it puts out is what it computes in."""

    name: str  #: as in the ONNX file
    kind: str  #: TensorRT's word
    dtypes: tuple[str, ...]  #: of the outputs
    shapes: tuple[tuple[int, ...], ...]  #: of the outputs


def make_logger(flavour: Flavour) -> Any:
    """TensorRT's logger: warnings to `logging`, errors also kept in `.errors`."""
    trt = flavour.module

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        """Called from TensorRT's own threads."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Severities count down from the worst."""
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message.strip())
            elif severity == trt.ILogger.WARNING:
                log.debug("%s", message)

    return Logger()


def parse_network(flavour: Flavour, builder: Any, logger: Any, path: Path) -> Any:
    """The strongly typed network of an ONNX file. Raises EngineError.

    The error names the layer that TensorRT cannot take, by its place in the network.
    """
    if not path.is_file():
        raise EngineError(f"{path}: no such network file")
    network = flavour.create_network(builder)
    parser = flavour.module.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        raise EngineError(_parse_error(parser, logger, path, flavour))
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(size < 0 for size in tensor.shape):
            raise EngineError(
                f"{path}: '{tensor.name}' has the dynamic shape {tuple(tensor.shape)}, expected "
                f"fixed sizes; export the network for one input size"
            )
    _check_weights(flavour.module, network, path)
    return network


def list_layers(network: Any) -> tuple[Layer, ...]:
    """Every layer with its precision."""
    layers = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        layers.append(
            Layer(
                name=layer.name,
                kind=_word(layer.type),
                dtypes=tuple(_word(output.dtype) for output in outputs),
                shapes=tuple(tuple(int(s) for s in output.shape) for output in outputs),
            )
        )
    return tuple(layers)


def _check_weights(trt: Any, network: Any, path: Path) -> None:
    """TensorRT itself builds an engine of weights that are no numbers."""
    holders = {
        trt.LayerType.CONSTANT: (trt.IConstantLayer, "weights"),
        trt.LayerType.CONVOLUTION: (trt.IConvolutionLayer, "kernel"),
    }
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type not in holders:
            continue
        kind, attribute = holders[layer.type]
        layer.__class__ = kind  # the bindings' own way to see a layer's own fields
        weights = getattr(layer, attribute)
        if not isinstance(weights, np.ndarray) or not np.issubdtype(weights.dtype, np.floating):
            continue
        bad = weights.size - int(np.isfinite(weights).sum(dtype=np.int64))
        if bad:
            raise EngineError(
                f"{path}: {bad} weights of '{layer.name}' are not finite; the training went "
                f"wrong or the file is damaged"
            )


def _parse_error(parser: Any, logger: Any, path: Path, flavour: Flavour) -> str:
    named = f"{flavour.name} {flavour.version}"
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    for error in errors:
        operator = _call(error, "node_operator")
        if operator:
            reason = _first_line(error.desc())
            if reason in ("false", ""):  # all that it says of an operator that it lacks
                reason = "it has no such operator"
            return (
                f"{path}: {named} cannot take layer '{_call(error, 'node_name')}' ({operator}): "
                f"{reason}; write that part of the network with other operators"
            )
    texts = [error.desc() for error in errors] + logger.errors
    reason = _first_line(texts[0]) if texts else "no reason given"
    return f"{path}: {named} cannot read it ({reason}); it is damaged, or lacks weights beside it"


def _call(error: Any, method: str) -> str:
    """A field that older parsers do not have."""
    found = getattr(error, method, None)
    return str(found()) if found is not None else ""


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(". ") if text.strip() else "no reason given"


def _word(member: Any) -> str:
    """CONVOLUTION of LayerType.CONVOLUTION."""
    return str(member).rsplit(".", 1)[-1]
