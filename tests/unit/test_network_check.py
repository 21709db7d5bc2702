"""Networks that no engine should open, and those of our own that it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from edge_reloc.errors import EngineError
from edge_reloc.inference.network_check import check_network
from edge_reloc.running.demo import DEMO
from edge_reloc_export.onnx.describe import describe

ROWS, COLUMNS = 4, 6
NETWORKS = sorted((DEMO / "map/nets").glob("*.onnx"))


def model(*nodes: Any, weights: dict[str, Any] | None = None, **more: Any) -> Any:
    """A graph from `x` (1,4) to `y` (1,6): x times `w`, which is `h`, then the nodes."""
    weights = {"w": np.ones((ROWS, COLUMNS), np.float32), **(weights or {})}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], name="first"), *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, ROWS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, more.pop("says", [1, COLUMNS]))],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", more.pop("opset", 18))])


def node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, [output], name="second", **attributes)


def refused(tmp_path: Path, network: Any, *words: str) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(network if isinstance(network, bytes) else network.SerializeToString())
    with pytest.raises(EngineError) as caught:
        check_network(path, None)
    for word in ("network.onnx: ", *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_the_demos_networks_are_what_the_toolchain_says(path: Path) -> None:
    assert check_network(path, None) == describe(path.read_bytes(), str(path))


def test_the_plainest_network_passes(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(model(node("Relu", "h")).SerializeToString())
    assert check_network(path, None).activation_bytes == 4 * COLUMNS


def _body() -> Any:
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, COLUMNS])
    return helper.make_graph([helper.make_node("Identity", ["h"], ["b"])], "body", [], [value])


def test_control_flow(tmp_path: Path) -> None:
    branches = node("If", "c", then_branch=_body(), else_branch=_body())
    refused(tmp_path, model(branches, weights={"c": np.array(True)}), "second", "branches")
    refused(tmp_path, model(node("Loop", "h")), "'second' (Loop)", "operators that a map may use")


def test_functions_and_other_makers(tmp_path: Path) -> None:
    refused(tmp_path, model(node("Gelu", "h", domain="com.microsoft")), "com.microsoft")
    network = model(node("Relu", "h"))
    opset = [helper.make_opsetid("", 18)]
    inner = helper.make_node("Relu", ["a"], ["b"])
    network.functions.append(helper.make_function("here", "F", ["a"], ["b"], [inner], opset))
    refused(tmp_path, network, "functions")


def test_weights_in_another_file(tmp_path: Path) -> None:
    network = model(node("Relu", "h"))
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../points/xyz.npy"
    refused(tmp_path, network, "in another file")


@pytest.mark.parametrize(
    ("nodes", "weights", "words"),
    [
        ([node("Expand", "h", "n")], {"n": np.array([10**6, COLUMNS])}, "says float32 (1, 6)"),
        ([node("Expand", "h", "n")], {"n": np.array([10**9, COLUMNS])}, "(1000000000, 6)"),
        ([node("ConstantOfShape", "n")], {"n": np.array([1, COLUMNS])}, "ConstantOfShape"),
        ([node("Expand", "h", "x")], {}, "is no constant"),
        ([node("Add", "h", "later")], {}, "takes 'later'"),
        ([node("Add", "h", "v")], {"v": np.zeros(5, np.float32)}, "cannot broadcast"),
        ([node("Relu", "h", output="w")], {}, "gives 'w', which is there already"),
        ([node("Gather", "h", "i", axis=7)], {"i": np.array([0])}, "has no axis 7"),
        ([node("Relu")], {}, "does not fit"),
        ([], {}, "makes nothing"),
        (
            [node("Expand", "v", "n", output="e"), node("Add", "h", "e")],
            {"v": np.zeros((1, 1), np.float32), "n": np.array([10**6, COLUMNS])},
            "made of weights alone",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shapes_that_do_not_hold(
    tmp_path: Path, nodes: list[Any], weights: dict[str, Any], words: str
) -> None:
    refused(tmp_path, model(*nodes, weights=weights), words)


def test_sizes_that_are_not_fixed(tmp_path: Path) -> None:
    refused(tmp_path, model(node("Relu", "h"), says=["n", COLUMNS]), "is not fixed")


def test_what_takes_too_long(tmp_path: Path) -> None:
    square = {"n": np.array([10**4, COLUMNS]), "t": np.array([COLUMNS, 10**4])}
    nodes = [
        node("Expand", "h", "n", output="tall"),
        helper.make_node("Transpose", ["tall"], ["wide"], name="turned", perm=[1, 0]),
        helper.make_node("MatMul", ["tall", "wide"], ["s0"], name="square"),
    ]
    nodes += [
        helper.make_node("MatMul", [f"s{n}", f"s{n}"], [f"s{n + 1}"], name=f"power{n}")
        for n in range(3)
    ]
    refused(tmp_path, model(*nodes, node("Relu", "h"), weights=square), "power0", "multiplications")


def test_another_operator_set(tmp_path: Path) -> None:
    refused(tmp_path, model(node("Relu", "h"), opset=9), "opset 9, expected 13 to 20")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-3],
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" * 64,
        lambda data: data + data,
        lambda data: data.replace(b"second", b"sec\xffnd"),
        lambda data: Path(__file__).read_bytes(),
    ],
    ids=["empty", "cut", "half", "ones", "twice", "not text", "other file"],
)
def test_files_that_are_no_networks(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    refused(tmp_path, spoil(model(node("Relu", "h")).SerializeToString()), "export it again")


def test_more_than_the_manifest_says(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(model(node("Relu", "h")).SerializeToString())
    honest = check_network(path, None)
    assert check_network(path, honest) == honest
    assert check_network(path, replace(honest, activation_bytes=None)) == honest
    lower = replace(honest, activation_bytes=(honest.activation_bytes or 0) - 1)
    fewer = replace(honest, weight_bytes=honest.weight_bytes - 1)
    for lie, words in ((lower, "values between layers take"), (fewer, "weights take")):
        with pytest.raises(EngineError, match=words):
            check_network(path, lie)
    with pytest.raises(EngineError, match="has inputs 'x' float32"):
        check_network(path, replace(honest, inputs={}))


@pytest.mark.parametrize(
    ("nodes", "weights", "words"),
    [
        ([node("ReduceMean", "h", noop_with_empty_axes=1)], {}, "names no axes"),
        (
            [node("Resize", "h", "", "", "n", keep_aspect_ratio_policy="not_smaller")],
            {"n": np.array([1, 10**4])},
            "chooses its size by itself",
        ),
        ([helper.make_node("Split", ["h"], [], name="second")], {}, "splits into nothing"),
        (
            [node("Reshape", "h", "n", output="r"), node("Conv", "r", "k")],
            {"n": np.array([1, 1, 1, 1, COLUMNS]), "k": np.zeros((1, 1, 1, 1, 1), np.float32)},
            "slides over 3 axes",
        ),
        ([node("Reshape", "h", "n")], {"n": np.array([1] * 8 + [COLUMNS])}, "gives 9 axes"),
        ([node("Relu", "h")], {"v": np.zeros((1,) * 9, np.float32)}, "'v' has 9 axes"),
        (
            [node("Resize", "v", "", "n", output="r"), node("Add", "h", "r")],
            {"v": np.zeros((1, 1), np.float32), "n": np.array([10**6, COLUMNS], np.float32)},
            "made of weights alone",
        ),
    ],
    ids=["no axes", "own size", "no parts", "volume", "axes", "weight", "optional input"],
)
def test_what_engines_would_make_more_of(
    tmp_path: Path, nodes: list[Any], weights: dict[str, Any], words: str
) -> None:
    refused(tmp_path, model(*nodes, weights=weights), words)


def test_axes_of_older_operator_sets(tmp_path: Path) -> None:
    """Taken for all axes, two of these would seem to be one number each, and so their product."""
    expand = node("Expand", "h", "n", output="e")
    mean = node("ReduceMean", "e", axes=[1])
    refused(
        tmp_path, model(expand, mean, weights={"n": np.array([9, COLUMNS])}, opset=17), "(9, 1)"
    )


def test_sizes_are_rounded_as_engines_do(tmp_path: Path) -> None:
    """98 times the float32 next to 1/49 is below 2, and 2 in float32."""
    expand = node("Expand", "h", "n", output="e")
    scales = np.array([1 / 49, 1], np.float32)
    weights = {"n": np.array([98, COLUMNS]), "s": scales}
    refused(
        tmp_path, model(expand, node("Resize", "e", "", "s"), weights=weights), "makes float32 (2"
    )


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Erf", {}),
        ("Pow", {}),
        ("Transpose", {"perm": [0, 1]}),
        ("Softmax", {"axis": 0}),
        ("MaxPool", {"kernel_shape": [401, 401], "pads": [200] * 4}),
    ],
)
def test_every_layer_is_work(tmp_path: Path, operator: str, attributes: dict[str, Any]) -> None:
    shape = [1, 1, 10**3, 10**3] if operator == "MaxPool" else [10**7, COLUMNS]
    weights = {"n": np.array(shape), "p": np.float32(1.1), "o": np.array([1, COLUMNS])}
    start = [node("Slice", "h", "from", "to", output="s"), node("Reshape", "s", "one", output="t")]
    weights |= {"from": np.array([0, 0]), "to": np.array([1, 1])}
    weights["one"] = np.array([1] * len(shape))
    nodes = [*start, node("Expand", "t", "n", output="v0")]
    for n in range(60):
        more = ["p"] if operator == "Pow" else []
        nodes.append(node(operator, f"v{n}", *more, output=f"v{n + 1}", **attributes))
    refused(tmp_path, model(*nodes, weights=weights), f"({operator}) is beyond the work of 1e+11")


@pytest.mark.parametrize(
    ("dtype", "words"),
    [(TensorProto.INT64, "(MatMul) is beyond"), (TensorProto.FLOAT, "makes float32 (3000, 3000)")],
)
def test_products_of_whole_numbers_are_more_work(tmp_path: Path, dtype: int, words: str) -> None:
    wide = np.ones((ROWS, 3000), np.int64 if dtype == TensorProto.INT64 else np.float32)
    nodes = [
        node("Expand", "x", "n", output="e"),
        node("Cast", "e", output="i", to=dtype),
        node("MatMul", "i", "wide", output="m"),
        node("MatMul", "m", "m"),
    ]
    refused(tmp_path, model(*nodes, weights={"n": np.array([3000, ROWS]), "wide": wide}), words)


def test_windows_over_few_channels_are_more_work(tmp_path: Path) -> None:
    window = np.ones((1, 1, 101, 101), np.float32)
    image = [node("Slice", "h", "from", "to", output="s"), node("Reshape", "s", "one", output="t")]
    weights = {"from": np.array([0, 0]), "to": np.array([1, 1]), "one": np.array([1] * 4)}
    weights |= {"n": np.array([1, 1, 1000, 1000]), "k": window}
    nodes = [*image, node("Expand", "t", "n", output="v"), node("Conv", "v", "k")]
    refused(tmp_path, model(*nodes, weights=weights), "(Conv) is beyond the work")


@pytest.mark.parametrize("which", ["initializer", "input", "output", "attribute"])
def test_what_stands_there_twice(tmp_path: Path, which: str) -> None:
    network = model(node("Concat", "h", axis=0))
    holder = network.graph.node[1] if which == "attribute" else network.graph
    getattr(holder, which).append(getattr(holder, which)[0])
    refused(tmp_path, network, "stands there twice")


def test_files_that_are_all_names_and_fields(tmp_path: Path) -> None:
    refused(tmp_path, model(node("Relu", "h", output="y" * 5000)), "a name of 5000 bytes")
    network = model(node("Relu", "h"))
    network.graph.node[1].doc_string = "n" * (2 << 20)
    refused(tmp_path, network, "a layer of 2")
    network = model(node("Relu", "h"))
    network.graph.initializer[0].dims.extend([1] * 100)
    refused(tmp_path, network, "a list of more than 64 numbers")
    empty = b"\x0a\x00"  # a layer that says nothing
    graph = empty * (1 << 18)
    size = bytes([0x80, 0x80, 0x20])  # of the graph, in sevens of bits
    refused(tmp_path, b"\x3a" + size + graph, "more than 262144 fields")


def test_images_of_few_channels_are_planned_as_they_are_padded(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    weights = {"n": np.array([1, 1, 8, COLUMNS]), "k": np.ones((1, 1, 3, 3), np.float32)}
    weights |= {"i": np.array([1, 1, 1, COLUMNS]), "a": np.array([1, 2])}
    weights["o"] = np.array([1, COLUMNS])
    nodes = [
        node("Reshape", "h", "i", output="r"),
        node("Expand", "r", "n", output="e"),
        node("Conv", "e", "k", output="c", pads=[1] * 4),
        node("ReduceSum", "c", "a", output="s"),
        node("Reshape", "s", "o"),
    ]
    path.write_bytes(model(*nodes, weights=weights).SerializeToString())
    honest = check_network(path, None)
    image = 4 * 8 * COLUMNS
    assert honest.activation_bytes == 2 * image
    assert check_network(path, honest).activation_bytes == 2 * image * 16 // 4
