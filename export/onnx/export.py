"""Torch modules as ONNX files: static shapes, one file, checked when written."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_reloc.errors import ConfigError, EngineError
from edge_reloc.features import FeatureSpec, NetworkSpec
from edge_reloc.files import write_atomic

from .layer_names import name_layers

log = logging.getLogger(__name__)

OPSET = 18  # TensorRT 10.3 (JetPack 6) parses up to 20
PARITY_TOLERANCE = 1e-3  # of the largest value: float32 summed in another order
MIN_SIDE_PX = 64  # two cells at the deepest level of every network


def export_module(
    module: Any,
    example_inputs: Sequence[Any],
    input_names: Sequence[str],
    output_names: Sequence[str],
    path: Path,
    *,
    compare: bool = True,
) -> None:
    """Write a torch module as ONNX for exactly the shapes of its examples.

    Beside it, `path` with the suffix .pt2 is the same network as torch has it, for
    `edge-reloc export parity`.

    compare: run the file in ONNX Runtime on the example inputs and refuse it when
    an output differs from torch's by more than PARITY_TOLERANCE. Off for graphs
    that choose (top K): a tie broken the other way is no error, but moves rows.
    Raises EngineError.
    """
    import onnx
    import torch

    # It warns about torchvision, which no network here needs.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    module = module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            tuple(example_inputs),
            input_names=list(input_names),
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
        expected = module(*example_inputs)
    assert program is not None
    model = program.model_proto
    name_layers(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise EngineError(f"{path}: the exported graph is not valid ONNX: {error}") from error
    content = model.SerializeToString()
    outputs = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    feeds = {n: x.numpy() for n, x in zip(input_names, example_inputs, strict=True)}
    found = _run(content, feeds, path)
    for name, torch_output, onnx_output in zip(output_names, outputs, found, strict=True):
        _check(name, torch_output.numpy(), onnx_output, path, compare)
    write_atomic(path.with_suffix(".pt2"), _torch_program(module, example_inputs))
    write_atomic(path, content)


def _torch_program(module: Any, example_inputs: Sequence[Any]) -> bytes:
    """The traced network as a file that torch opens without our classes."""
    import torch

    class Plain(torch.nn.Module):
        """Outputs as a plain tuple: named ones cannot be written."""

        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, *inputs: Any) -> Any:
            """What the network returns."""
            outputs = self.network(*inputs)
            return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)

    stream = io.BytesIO()
    with torch.no_grad():
        torch.export.save(torch.export.export(Plain().eval(), tuple(example_inputs)), stream)
    return stream.getvalue()


def export_features(
    kind: str, weights: Path, width: int, height: int, keypoints: int, output: Path
) -> None:
    """Write a feature network (.onnx) for grey images of width x height pixels.

    Input and outputs: see `edge_reloc.features.network`. Raises EngineError for
    weights that do not fit, ConfigError for sizes that make no sense.
    """
    import torch

    from ..nets.detector import TENSORRT_MAX_KEYPOINTS
    from ..nets.local_features import load_local_features

    if min(width, height) < MIN_SIDE_PX:
        raise ConfigError(
            f"feature network: size is {width}x{height}, expected at least {MIN_SIDE_PX} pixels"
        )
    if not 16 <= keypoints <= width * height // 16:
        raise ConfigError(
            f"feature network: {keypoints} keypoints from {width}x{height} pixels, "
            f"expected 16 to {width * height // 16}"
        )
    if keypoints > TENSORRT_MAX_KEYPOINTS:
        log.warning(
            "%s: %d keypoints; TensorRT builds networks of at most %d",
            output,
            keypoints,
            TENSORRT_MAX_KEYPOINTS,
        )
    module = load_local_features(kind, weights, keypoints)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 1, height, width), generator=generator) * 255
    export_module(module, [image], ["image"], module.output_names, output, compare=False)


def feature_spec(
    kind: str, weights: Path, keypoints: int, networks: Sequence[NetworkSpec]
) -> FeatureSpec:
    """What a map made with these features says about them.

    networks: the files that `export_features` wrote, one per input size.
    """
    from ..nets.local_features import feature_network, place_dim

    entry = feature_network(kind)
    network = entry.load(weights)
    return FeatureSpec(
        kind=kind,
        dim=network.dim,
        keypoints=keypoints,
        min_similarity=entry.min_similarity[network.dim],
        networks=tuple(networks),
        weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        place_dim=place_dim(network),
        pair_similarity=entry.pair_similarity,
        min_coverage=entry.min_coverage,
    )


def _run(content: bytes, feeds: dict[str, NDArray[Any]], path: Path) -> list[NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return [np.asarray(output) for output in session.run(None, feeds)]
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise EngineError(f"{path}: ONNX Runtime cannot run the exported graph: {error}") from error


def _check(
    name: str, expected: NDArray[Any], found: NDArray[Any], path: Path, compare: bool
) -> None:
    if expected.shape != found.shape or not np.isfinite(found).all():
        raise EngineError(
            f"{path}: '{name}' has shape {found.shape} in ONNX Runtime, expected "
            f"{expected.shape} and finite numbers"
        )
    if found.dtype == np.int64:
        raise EngineError(f"{path}: '{name}' is int64; cast it to int32 in the module")
    allowed = PARITY_TOLERANCE * max(float(np.abs(expected).max(initial=0.0)), 1e-6)
    difference = float(np.abs(expected - found).max(initial=0.0))
    if compare and difference > allowed:
        raise EngineError(
            f"{path}: '{name}' differs from torch by {difference:.2g}, expected at most "
            f"{allowed:.2g}; the export changed what the network computes"
        )
