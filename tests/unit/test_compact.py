"""Weights stored as float16: half the file, the same network but for a rounding."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.inference.onnxruntime import OnnxRuntimeEngine
from edge_reloc.memory.arena import Arena
from edge_reloc.running.demo import DEMO
from edge_reloc_export import export_compact as to_compact
from edge_reloc_export import export_onnx as to_float16
from edge_reloc_export.float16.compact import compact
from edge_reloc_export.onnx.describe import describe
from edge_reloc_export.onnx.model_file import load_graph
from edge_reloc_export.packing.networks import add_network

CELLS = "nets/cells.onnx"


def run(path: Path) -> np.ndarray:
    engine = OnnxRuntimeEngine(path, Arena(), threads=1)
    generator = np.random.default_rng(0)
    engine.inputs["embedding"][:] = generator.normal(size=engine.inputs["embedding"].shape)
    engine.run()
    share = engine.outputs["share"].copy()
    engine.close()
    return share


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A network with weights that float16 rounds, and its compact form."""
    import onnx
    from onnx import numpy_helper

    plain, small = tmp_path / "plain.onnx", tmp_path / "small.onnx"
    model = load_graph(DEMO / "map" / CELLS)
    for tensor in model.graph.initializer:
        if tensor.data_type == tensor.FLOAT:
            values = numpy_helper.to_array(tensor) * np.float32(1.0003)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(plain))
    assert compact(model) >= 3
    onnx.checker.check_model(model)
    onnx.save(model, str(small))
    return plain, small


def test_half_the_size_and_the_same_answer(pair: tuple[Path, Path]) -> None:
    plain, small = pair
    assert small.stat().st_size < 0.55 * plain.stat().st_size
    expected, found = run(plain), run(small)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert (found != expected).any()


def test_the_memory_plan_sees_the_same_network(pair: tuple[Path, Path]) -> None:
    plain, small = (describe(path.read_bytes(), path.name) for path in pair)
    assert small.inputs == plain.inputs and small.outputs == plain.outputs
    assert small.activation_bytes == plain.activation_bytes
    assert small.weight_bytes == plain.weight_bytes > 0.9 * pair[0].stat().st_size


def test_it_is_read_as_the_network_that_it_was(pair: tuple[Path, Path]) -> None:
    plain, small = load_graph(pair[0]), load_graph(pair[1])
    assert [n.name for n in small.graph.node] == [n.name for n in plain.graph.node]
    assert [t.name for t in small.graph.initializer] == [t.name for t in plain.graph.initializer]


def test_a_map_becomes_smaller_and_goes_on_to_float16(tmp_path: Path) -> None:
    place = tmp_path / "map"
    shutil.copytree(DEMO / "map", place)
    bundle = open_bundle(place)
    networks = [file for file in bundle.manifest.files if file.startswith("nets/")]
    with extend_bundle(place) as writer:
        for file in networks:
            add_network(writer, file, load_graph(bundle.path(file)).SerializeToString())
    before = open_bundle(place).nbytes()
    assert to_compact.main(["--map", str(place), "--output", str(tmp_path / "small")]) == 0
    small = open_bundle(tmp_path / "small")
    assert small.nbytes(set(networks)) < 0.55 * open_bundle(place).nbytes(set(networks))
    assert open_bundle(place).nbytes() == before
    photos = ["--photos", str(DEMO / "frames"), "--count", "1"]
    assert to_float16.main(["--map", str(tmp_path / "small"), *photos]) == 0
    assert open_bundle(tmp_path / "small").manifest.networks[CELLS].float16
