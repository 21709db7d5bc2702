"""A model in ONNX Runtime, with any of its inner values as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_reloc.errors import EngineError


def open_session(model: Any, where: str, *, outputs: Sequence[str] = (), threads: int = 0) -> Any:
    """An InferenceSession of a ModelProto. Raises EngineError.

    outputs: inner values to expose, by name. Then the graph is run as written: fusing
    layers would remove the very values that are asked for.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if outputs:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        exposed = onnx.ModelProto()
        exposed.CopyFrom(model)
        already = {value.name for value in model.graph.output}
        for name in outputs:
            if name not in already:
                exposed.graph.output.append(onnx.ValueInfoProto(name=name))
        model = exposed
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"{where}: ONNX Runtime cannot load it ({reason})") from error
