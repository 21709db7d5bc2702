"""The plan of the demo's memory against what is taken; budgets; what a map says of networks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from edge_reloc.bundle import MapBundle, extend_bundle, open_bundle
from edge_reloc.errors import BundleError, ConfigError, EngineError
from edge_reloc.geometry.camera import Camera, read_camera
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.assemble import plan_line
from edge_reloc.running.budget import MIB, check_budget, fit_budget, libraries_bytes, plan_footprint
from edge_reloc.running.demo import DEMO
from edge_reloc_export import export_describe
from edge_reloc_export.onnx.describe import describe
from edge_reloc_export.onnx.model_file import load_graph

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
def test_the_manifest_says_what_onnx_says(path: Path) -> None:
    described = open_bundle(DEMO / "map").manifest.files[f"nets/{path.name}"].network
    assert described is not None and described == describe(path.read_bytes(), path.name)
    graph = load_graph(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    for found, values in ((described.inputs, graph.input), (described.outputs, graph.output)):
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
    assert described.activation_bytes is not None
    assert max(sizes) <= described.activation_bytes <= sum(sizes)


def test_damaged_networks_are_one_clear_error() -> None:
    whole = NETWORKS[0].read_bytes()
    cut = [whole[:size] for size in (0, 1, 2, 7, 100, len(whole) // 3, len(whole) - 1)]
    for content in (*cut, b"\xff" * 64):
        with pytest.raises(EngineError, match=r"cut\.onnx: damaged or not an ONNX file"):
            describe(content, "cut.onnx")


def test_a_network_of_no_fixed_size_is_refused() -> None:
    model = onnx.load(str(NETWORKS[0]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(EngineError, match=r"has the dynamic shape \(0, .*export it again"):
        describe(model.SerializeToString(), "batch.onnx")


def test_a_map_that_does_not_describe_its_networks(
    demo: tuple[MapBundle, Camera], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As version 1.1 wrote it: it localises, one line has the cure, and the cure works."""
    with extend_bundle(DEMO / "map", tmp_path / "old") as writer:
        files = writer.manifest.files
        writer.manifest.files = {n: replace(entry, network=None) for n, entry in files.items()}
    bundle, camera = open_bundle(tmp_path / "old"), demo[1]
    with pytest.raises(BundleError, match=r"maps before 1\.2.*edge-reloc export describe --map"):
        plan_footprint(bundle, camera, Settings())
    with Localizer.open(bundle, camera, Settings(threads=1)) as localizer:
        assert localizer.localize(DEMO / "frames" / "frame_000.jpg").ok
    assert "memory is not planned" in caplog.text
    assert export_describe.main(["--map", str(tmp_path / "old")]) == 0
    assert open_bundle(tmp_path / "old", verify=True).manifest == demo[0].manifest
