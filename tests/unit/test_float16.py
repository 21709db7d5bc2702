"""Networks in float16: what is converted, what is not, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edge_reloc.errors import ConfigError, EngineError
from edge_reloc.running.demo import DEMO
from edge_reloc_export.float16.calibration_photos import image_feeds, photos_of
from edge_reloc_export.float16.convert import FLOAT16_MAX, to_float16
from edge_reloc_export.float16.placement import HEAVY
from edge_reloc_export.float16.prove import convert_network
from edge_reloc_export.float16.ranges import layer_ranges, overflowing
from edge_reloc_export.float16.rounding import rounded
from edge_reloc_export.nets.visible_structure import CellsHead, ConditionalVae, FoldedDecoder
from edge_reloc_export.onnx.export import export_features, export_module
from edge_reloc_export.onnx.model_file import float_values, load_graph
from edge_reloc_export.onnx.runtime import open_session

FLOAT16_ERROR = 4 * 2.0**-11  # a few roundings of half a unit in the last place
POSITION_PX = 1e-3  # positions are made in float32: only ties may move them
DESCRIPTOR_COSINE = 0.9999


class Tower(nn.Module):
    """Three convolutions, the second times `gain`; its own softmax at the end."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.second.weight.data *= gain
        self.third.weight.data /= gain

    def forward(self, x):
        """(1,4,8,8) to itself."""
        return torch.softmax(self.third(torch.relu(self.second(torch.relu(self.first(x))))), dim=1)


@pytest.fixture
def tower(tmp_path: Path) -> Callable[[float], onnx.ModelProto]:
    def make(gain: float = 1.0) -> onnx.ModelProto:
        export_module(Tower(gain), [torch.rand(1, 4, 8, 8)], ["x"], ["y"], tmp_path / "tower.onnx")
        return load_graph(tmp_path / "tower.onnx")

    return make


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {t.name: t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    return types


def feed(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        value.name: generator.random(
            [d.dim_value for d in value.type.tensor_type.shape.dim], np.float32
        )
        for value in model.graph.input
    }


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return open_session(model, "test").run(None, inputs)


def heads() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    vae = ConditionalVae(16, width=32, gain=4.0)
    noise = torch.randn(50, vae.latent)
    decoder = FoldedDecoder(vae, noise, torch.tensor([3.0, 2.0, 1.0]), torch.tensor([50.0, 0, -9]))
    return {"cells": CellsHead(16, 40, (32, 32)), "generative": decoder}


@pytest.mark.parametrize("role", ["cells", "generative"])
def test_heads_work_in_float16_and_speak_float32(role: str, tmp_path: Path) -> None:
    path = tmp_path / "head.onnx"
    export_module(heads()[role].eval(), [torch.rand(1, 16)], ["embedding"], ["out"], path)
    model = load_graph(path)
    converted = to_float16(model, role)
    onnx.checker.check_model(converted.model, full_check=True)
    assert converted.heavy_half == converted.heavy > 0
    types = types_of(converted.model)
    for value in (*converted.model.graph.input, *converted.model.graph.output):
        assert types[value.name] == TensorProto.FLOAT, value.name
    for node in converted.model.graph.node:
        if node.op_type in HEAVY:
            assert {types[name] for name in node.input} == {TensorProto.FLOAT16}, node.name
    inputs = feed(model)
    (wanted,), (found,) = run(model, inputs), run(rounded(converted.model), inputs)
    # The offset of the world's origin is added in float32: 50 m would cost 3 cm otherwise.
    scale = 3.0 if role == "generative" else 1.0  # of normalised numbers around 1
    assert np.abs(wanted - found).max() < FLOAT16_ERROR * scale


def test_a_feature_network_keeps_positions_in_float32(
    weights_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "xfeat.onnx"
    export_features("xfeat", weights_dir / "xfeat.onnx", 320, 240, 500, path)
    model = load_graph(path)
    converted = to_float16(model, "xfeat", keep=["network.keypoints.*"])
    onnx.checker.check_model(converted.model, full_check=True)
    types = types_of(converted.model)
    positions = [n for n in converted.model.graph.node if n.name.startswith("detector/")]
    in_half = {n.op_type for n in positions if TensorProto.FLOAT16 in {types[o] for o in n.output}}
    # Only descriptors pass through the detector in float16: moved, then weighted.
    assert in_half <= {"Reshape", "Transpose", "Gather", "MatMul"}
    photos = photos_of(data_dir / "fox" / "images", 2)
    for fed in image_feeds(path, photos):
        (xy, scores, descriptors), (xy16, _, descriptors16) = (
            run(m, fed) for m in (model, rounded(converted.model))
        )
        distance = np.linalg.norm(xy[:, None] - xy16[None], axis=2)
        nearest = distance.argmin(axis=1)
        found = scores > 0
        assert found.sum() > 300
        assert np.median(distance.min(axis=1)[found]) < POSITION_PX
        cosine = (descriptors * descriptors16[nearest]).sum(axis=1)[found]
        assert np.percentile(cosine, 5) > DESCRIPTOR_COSINE


def test_named_layers_stay_float32(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower()
    converted = to_float16(model, "tower", keep=["second/*"])
    assert converted.islands == ("second/Conv",)
    types = types_of(converted.model)
    for node in converted.model.graph.node:
        if node.op_type == "Conv":
            wanted = TensorProto.FLOAT if node.name == "second/Conv" else TensorProto.FLOAT16
            assert {types[name] for name in node.input} == {wanted}, node.name
        if node.op_type == "Softmax":
            assert types[node.output[0]] == TensorProto.FLOAT
    with pytest.raises(ConfigError, match=r"no layer is called 'fourth'.*names look like 'first/"):
        to_float16(model, "tower", keep=["fourth"])


def test_a_value_is_cast_once_however_many_read_it() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("MatMul", ["x", "w"], ["b"], name="b"),
        helper.make_node("Exp", ["a"], ["c"], name="c"),
        helper.make_node("Exp", ["a"], ["d"], name="d"),
        helper.make_node("Sum", ["b", "c", "d"], ["y"], name="y"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 2]) for n in "xy")
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weight]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    converted = to_float16(model, "twice").model
    casts = [n.input[0] for n in converted.graph.node if n.op_type == "Cast"]
    assert sorted(casts) == ["a_float16", "b_float16", "x"]
    weights = [t for t in converted.graph.initializer]
    assert [t.data_type for t in weights] == [TensorProto.FLOAT16]


def test_ranges_name_the_layer_and_the_photo(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower()
    small = feed(model)
    large = {"x": 100 * small["x"]}
    graph = to_float16(model, "tower")
    ranges = layer_ranges(model, graph.half, [small, large], "tower")
    (first,) = (r for r in ranges if r.layer == "first/Conv")
    network = Tower()
    expected = network.first(torch.from_numpy(large["x"])).abs().max().item()
    assert first.largest == pytest.approx(expected, rel=1e-5)
    assert first.feed == 1 and first.operator == "Conv"
    assert first.share == pytest.approx(expected / 65504, rel=1e-5)
    assert [r.largest for r in ranges] == sorted((r.largest for r in ranges), reverse=True)
    assert overflowing(model, graph.half, ranges) == {}


def test_what_overflows_becomes_an_island(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower(1e5)
    inputs = {"x": 9 * feed(model)["x"]}
    plain = run(rounded(to_float16(model, "tower").model), inputs)[0]
    assert not np.isfinite(plain).all()  # or the test shows nothing
    network = convert_network(model, [inputs], "tower")
    # The second convolution puts out too much, the third reads it.
    assert set(network.graph.islands) == {"second/Conv", "third/Conv"}
    assert network.overflow[0].layer == "second/Conv"
    wanted, found = run(model, inputs)[0], run(rounded(network.graph.model), inputs)[0]
    assert np.abs(wanted - found).max() < FLOAT16_ERROR


def test_strict_refuses_and_names_the_island(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower(1e5)
    with pytest.raises(EngineError) as refused:
        convert_network(model, [feed(model)], "tower.onnx", strict=True)
    text = str(refused.value)
    assert "\n" not in text
    assert "tower.onnx: layer 'second/Conv' reaches" in text
    assert "--keep-float32 'second/Conv'" in text


def test_weights_that_do_not_fit_stay_float32(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower(1e6)
    weight = max(float(np.abs(numpy_helper.to_array(t)).max()) for t in model.graph.initializer)
    assert weight > FLOAT16_MAX
    assert "second/Conv" in to_float16(model, "tower").islands


def test_a_weight_that_is_no_number(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower()
    tensor = next(t for t in model.graph.initializer if t.name == "third.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(
        EngineError, match=r"net.onnx: 1 weights of 'third.weight' \(layer 'third/Conv'\) are not"
    ):
        to_float16(model, "net.onnx")


def test_a_dynamic_shape(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(EngineError, match=r"'x' has the dynamic shape \['batch', 4, 8, 8\]"):
        to_float16(model, "net.onnx")


def test_int64_at_the_bindings(tower: Callable[..., onnx.ModelProto]) -> None:
    model = tower()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(EngineError, match="'y' is int64; cast it to int32"):
        to_float16(model, "net.onnx")


def test_files_that_are_no_networks(tmp_path: Path, tower: Callable[..., onnx.ModelProto]) -> None:
    with pytest.raises(EngineError, match="no such network file"):
        load_graph(tmp_path / "absent.onnx")
    tower()
    whole = (tmp_path / "tower.onnx").read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(EngineError, match=r"bad.onnx: damaged or not an ONNX file") as refused:
            load_graph(tmp_path / "bad.onnx")
        assert "\n" not in str(refused.value)


def test_weights_in_a_file_that_is_missing(
    tmp_path: Path, tower: Callable[..., onnx.ModelProto]
) -> None:
    model = tower()
    onnx.save(
        model,
        str(tmp_path / "apart.onnx"),
        save_as_external_data=True,
        location="apart.data",
        size_threshold=0,
    )
    (tmp_path / "apart.data").unlink()
    with pytest.raises(EngineError, match=r"apart.onnx: .*apart.data"):
        load_graph(tmp_path / "apart.onnx")


def test_exported_layers_are_named_after_their_modules(tmp_path: Path) -> None:
    path = tmp_path / "tower.onnx"
    export_module(Tower(), [torch.rand(1, 4, 8, 8)], ["x"], ["y"], path)
    names = [node.name for node in load_graph(path).graph.node]
    assert names == [
        "first/Conv",
        "network/Relu",
        "second/Conv",
        "network/Relu_1",
        "third/Conv",
        "network/Softmax",
    ]


def test_an_exported_file_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "tower.onnx"
    export_module(Tower(), [torch.rand(1, 4, 8, 8)], ["x"], ["y"], path)
    content = path.read_bytes()
    for trace in (str(Path(__file__).parents[2]), "site-packages", "stack_trace"):
        assert trace.encode() not in content
    for network in sorted((DEMO / "map" / "nets").glob("*.onnx")):
        assert b"stack_trace" not in network.read_bytes(), network


def test_float_values_are_told_apart_from_indices(tower: Callable[..., onnx.ModelProto]) -> None:
    floats = float_values(tower(), "tower")
    assert {"x", "y", "first.weight"} <= floats


def test_photos_feed_images_only(tmp_path: Path, data_dir: Path) -> None:
    path = tmp_path / "head.onnx"
    export_module(heads()["cells"].eval(), [torch.rand(1, 16)], ["embedding"], ["share"], path)
    with pytest.raises(ConfigError, match=r"takes \['embedding'\].*export it with its --map"):
        image_feeds(path, photos_of(data_dir / "fox" / "images", 1))


def test_rounding_gives_what_float16_arithmetic_gives() -> None:
    """1000 · 100 overflows in float16 though what follows brings it back."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(4, 4)).astype(np.float32)
    constants = {"w": weight, "big": np.float32(1000), "small": np.float32(1e-3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="a"),
        helper.make_node("Mul", ["a", "big"], ["b"], name="b"),
        helper.make_node("Mul", ["b", "small"], ["c"], name="c"),
        helper.make_node("MatMul", ["c", "w"], ["y"], name="y"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
    tensors = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    converted = to_float16(model, "chain").model
    value = generator.random((1, 4), np.float32)
    half = np.float16
    step = (value.astype(half).astype(np.float32) @ weight.astype(half).astype(np.float32)).astype(
        half
    )
    step = (step * half(1000)) * half(1e-3)
    expected = (step.astype(np.float32) @ weight.astype(half).astype(np.float32)).astype(half)
    np.testing.assert_array_equal(run(rounded(converted), {"x": value})[0], expected)
    assert not np.isfinite(run(rounded(converted), {"x": 300 * value})[0]).all()
    assert np.isfinite(run(converted, {"x": 300 * value})[0]).all()  # why `rounded` exists
