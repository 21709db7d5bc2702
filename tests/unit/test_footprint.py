"""The plan of the demo's memory against what is taken; budgets; headers of networks."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.errors import ConfigError, EngineError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.inference.onnx_header import read_header
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import plan_line
from edge_reloc.running.budget import MIB, check_budget, fit_budget, libraries_bytes, plan_footprint
from edge_reloc.running.demo import DEMO
from edge_reloc_export.onnx.graph import load_graph

SETTINGS = (
    Settings(method="exhaustive", threads=1),
    Settings(method="image_retrieval", threads=2),
    Settings(head="cells", threads=3, second_pass=False),
    Settings(head="generative", match_block=100, candidates=700),
    Settings(head="generative", precision="float16", search="nearest"),
    Settings(method="landmarks"),
    Settings(method="landmarks", precision="float16", registration="landmark_wise", tracking=True),
)
NETWORKS = sorted((DEMO / "map" / "nets").glob("*.onnx"))


@pytest.fixture
def demo() -> tuple[MapBundle, Camera]:
    return open_bundle(DEMO / "map"), read_camera(DEMO / "camera.json")


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_planned_is_taken(demo16: Path, settings: Settings) -> None:
    bundle, camera = open_bundle(demo16), read_camera(DEMO / "camera.json")
    plan = plan_footprint(bundle, camera, settings)
    localizer = Localizer.open(bundle, camera, settings)
    try:
        assert plan.arena_bytes == localizer.arena_bytes
        buffers = {row.name: row.nbytes for row in plan.rows}
        line = plan_line(bundle, camera, settings)
        assert {e.name: e.nbytes for e in line.arena.ledger}.items() <= buffers.items()
        map_bytes = sum(r.nbytes for r in plan.rows if r.kind in ("map", "descriptors"))
        used = [name for name in localizer.bundle.used if not name.endswith(".onnx")]
        assert map_bytes == localizer.bundle.nbytes(used)
    finally:
        localizer.close()


def test_planning_takes_next_to_nothing(demo: tuple[MapBundle, Camera]) -> None:
    before = libraries_bytes()
    if before == 0:
        pytest.skip("the system does not tell what a process holds")
    for _ in range(5):
        plan = plan_footprint(*demo, Settings())
    assert libraries_bytes() - before < plan.nbytes / 10


def test_a_budget_is_refused_with_the_table_and_kept_with_the_advice(
    demo: tuple[MapBundle, Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, camera = demo
    settings = Settings(threads=1)
    held, plan = libraries_bytes(), plan_footprint(bundle, camera, settings)
    # What a process holds moves by itself while other tests' memory is given back.
    monkeypatch.setattr("edge_reloc.running.budget.libraries_bytes", lambda: held)
    budget = held + plan.nbytes - MIB
    with pytest.raises(ConfigError) as caught:
        check_budget(bundle, camera, settings, budget)
    line = str(caught.value)
    for kind in plan.by_kind():
        assert f"{kind} " in line
    block = re.search(r"--match-block (\d+)", line)
    assert block is not None
    lowered = Settings(threads=1, match_block=int(block[1]))
    assert check_budget(bundle, camera, lowered, budget).nbytes + held <= budget
    fitted, fitted_plan, words = fit_budget(bundle, camera, settings, budget)
    assert fitted.match_block <= int(block[1]) and "slower" in words
    assert fitted_plan.nbytes < plan.nbytes


def test_a_hopeless_budget_says_by_how_much(demo: tuple[MapBundle, Camera]) -> None:
    for ask in (check_budget, fit_budget):
        with pytest.raises(ConfigError, match=r"no limit can be lowered that far: .* MiB over"):
            ask(*demo, Settings(), libraries_bytes() + MIB)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.name)
def test_headers_say_what_onnx_says(path: Path) -> None:
    header = read_header(path)
    graph = load_graph(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    for found, values in ((header.inputs, graph.input), (header.outputs, graph.output)):
        expected = {v.name: v.type.tensor_type for v in values if v.name not in weights}
        assert set(found) == set(expected)
        for name, binding in found.items():
            assert binding.shape == tuple(d.dim_value for d in expected[name].shape.dim)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(expected[name].elem_type)
            assert binding.dtype == dtype.name
    # Between the layers there is at least the largest single value.
    sizes = []
    for value in (v for v in graph.value_info if v.name not in weights):
        tensor = value.type.tensor_type
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
        count = 1
        for dim in tensor.shape.dim:
            count *= dim.dim_value
        sizes.append(count * item)
    assert header.activation_bytes is not None
    assert max(sizes) <= header.activation_bytes <= sum(sizes)


def test_damaged_networks_are_one_clear_error(tmp_path: Path) -> None:
    whole = NETWORKS[0].read_bytes()
    path = tmp_path / "cut.onnx"
    for size in (0, 1, 2, 7, 100, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(EngineError, match="damaged or not an ONNX file"):
            read_header(path)
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(EngineError, match="damaged"):
        read_header(path)
    with pytest.raises(EngineError, match="no such network file"):
        read_header(tmp_path / "none.onnx")
