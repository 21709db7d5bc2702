"""Engines by TensorRT's runtime, of the demo's own networks.

On a GPU with TensorRT the engines are built first; without one, ONNX Runtime stands in.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_reloc.bundle import open_bundle
from edge_reloc.cuda.driver import CudaError
from edge_reloc.errors import EdgeRelocError, EngineError
from edge_reloc.geometry.camera import read_camera
from edge_reloc.inference.engine_key import FORMAT, VERSION, EngineKey, read_sidecar
from edge_reloc.inference.engine_origin import make_secret, origin_of
from edge_reloc.inference.tensorrt import TensorRtEngine, TensorRtEngines
from edge_reloc.localizer import Localizer
from edge_reloc.memory.arena import Arena
from edge_reloc.methods import Settings
from edge_reloc.running.budget import plan_footprint
from edge_reloc.running.demo import DEMO
from edge_reloc.running.loop import run
from edge_reloc.running.statistics import RunStatistics
from edge_reloc.sources import open_source
from edge_reloc.structs import PoseEstimate, Status

STAND_IN = os.environ.get("EDGE_RELOC_STAND_IN")
FRAMES = 2
CELLS, GENERATIVE = "nets/cells.onnx", "nets/generative.onnx"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A machine of its own: engines that are built here are of its secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_RELOC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[None]:
    """The package `tensorrt`: the real one, or what stands in for it."""
    if STAND_IN is None:
        pytest.importorskip("tensorrt", reason="TensorRT is not installed")
        yield
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from stand_in import tensorrt

    tensorrt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    sys.modules["tensorrt"] = tensorrt
    yield
    del sys.modules["tensorrt"]


@pytest.fixture(scope="module")
def prepared(
    package: None, cache: None, demo16: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The demo's map with engines of all its networks."""
    path = tmp_path_factory.mktemp("maps") / "demo"
    shutil.copytree(demo16, path)
    if STAND_IN is None:
        from edge_reloc_export import export_engine as to_tensorrt

        assert to_tensorrt.main(["--map", str(path), "--flavour", "tensorrt"]) == 0
        return path
    (path / "engines").mkdir()
    for file in sorted((path / "nets").glob("*.fp16.onnx")):
        stand_in_engine(file, path / "engines")
    return path


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(prepared, tmp_path / "map")
    return tmp_path / "map"


def stand_in_engine(onnx_file: Path, folder: Path) -> None:
    from stand_in.tensorrt import MAGIC, __version__

    content = onnx_file.read_bytes()
    key = EngineKey(
        onnx_sha256=hashlib.sha256(content).hexdigest(),
        flavour="tensorrt",
        tensorrt_version=__version__,
        gpu="stand-in",
        compute_capability="8.7",
    )
    plan = MAGIC + content
    stem = str(folder / key.file_stem(onnx_file.stem))
    Path(stem + ".plan").write_bytes(plan)
    values = {
        "format": FORMAT,
        "version": VERSION,
        "network": onnx_file.name,
        "key": asdict(key),
        "plan": {"sha256": hashlib.sha256(plan).hexdigest(), "nbytes": len(plan)},
    }
    Path(stem + ".json").write_text(json.dumps(values))
    mark_as_built_here(Path(stem + ".json"))


def mark_as_built_here(sidecar: Path) -> None:
    """As if the builder of this machine had written it."""
    values = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**values, "origin": origin_of(read_sidecar(sidecar))}))


def localise(localizer: Localizer) -> list[PoseEstimate]:
    source = open_source(str(DEMO / "frames"), localizer.camera)
    try:
        frames = islice(source, FRAMES)
        return [localizer.localize(frame).estimate for frame in frames]
    finally:
        source.close()
        localizer.close()


def demo_camera() -> Any:
    return read_camera(DEMO / "camera.json")


@pytest.mark.parametrize(
    ("head", "mapped"), [("cells", True), ("cells", False), ("generative", False)]
)
def test_poses_are_those_of_onnx_runtime(
    prepared: Path, open_gpu: Any, head: str, mapped: bool
) -> None:
    bundle, camera = open_bundle(prepared), demo_camera()
    settings = Settings(head=head, engine="onnxruntime", precision="float16", threads=1)
    expected = localise(Localizer.open(bundle, camera, settings))
    on_gpu = Settings(head=head, engine="tensorrt", threads=1)
    localizer = Localizer.open(bundle, camera, on_gpu, gpu=open_gpu(mapped=mapped))
    found = localise(localizer)
    for one, other in zip(found, expected, strict=True):
        assert one.status is other.status is Status.OK
        assert one.cam_from_world is not None and other.cam_from_world is not None
        np.testing.assert_allclose(one.cam_from_world, other.cam_from_world, atol=3e-3)
        assert one.matches == pytest.approx(other.matches, rel=0.1)


def test_two_frames_in_flight_give_the_same_poses(prepared: Path, open_gpu: Any) -> None:
    bundle, camera, poses = open_bundle(prepared), demo_camera(), []
    for in_flight in (1, 2):
        settings = Settings(engine="tensorrt", threads=1, in_flight=in_flight)
        localizer = Localizer.open(bundle, camera, settings, gpu=open_gpu())
        found: list[Any] = []
        source = open_source(str(DEMO / "frames"), camera)
        run(
            localizer,
            source,
            RunStatistics(),
            limit=3,
            watch=lambda frame, result: found.append(result.estimate),  # noqa: B023
        )
        localizer.close()
        poses.append([pose.cam_from_world for pose in found])
    assert all(pose is not None for pose in poses[0])
    np.testing.assert_array_equal(poses[0], poses[1])


def test_what_is_planned_is_what_is_taken(prepared: Path, open_gpu: Any) -> None:
    bundle, camera = open_bundle(prepared), demo_camera()
    settings = Settings(engine="tensorrt", threads=1)
    plan = plan_footprint(bundle, camera, settings)
    planned = {row.name: row.nbytes for row in plan.device_rows if row.kind == "device"}
    del planned["alignment"]
    localizer = Localizer.open(bundle, camera, settings, gpu=open_gpu())
    assert localizer.gpu is not None
    taken = {entry.name: entry.nbytes for entry in localizer.gpu.arena.ledger}
    assert taken.pop("engines.scratch") > 0 and planned.pop("engines.scratch") > 0
    assert taken == planned
    assert taken["map.descriptors"] == bundle.manifest.files["points/descriptors.npy"].nbytes - 128
    with pytest.raises(CudaError, match="after the arena was sealed"):
        localizer.gpu.arena.take("late", 1)
    localizer.close()


def test_engines_share_one_scratch(prepared: Path, open_gpu: Any) -> None:
    bundle = open_bundle(prepared)
    gpu = open_gpu()
    engines = TensorRtEngines(bundle, Arena(), gpu)
    both = [engines.open(CELLS), engines.open(GENERATIVE)]
    engines.ready()
    sizes = [engine.scratch_bytes for engine in both if isinstance(engine, TensorRtEngine)]
    scratch = [entry.nbytes for entry in gpu.arena.ledger if entry.name == "engines.scratch"]
    assert scratch == [max(sizes)]
    engines.close()


def test_an_output_is_the_next_ones_input_without_a_copy(prepared: Path, open_gpu: Any) -> None:
    bundle = open_bundle(prepared)
    engines = TensorRtEngines(bundle, Arena(), open_gpu())
    one, other = engines.open(CELLS), engines.open(CELLS)
    assert isinstance(one, TensorRtEngine) and isinstance(other, TensorRtEngine)
    with pytest.raises(EngineError, match="cannot be connected"):
        other.connect("embedding", one, "share")
    # The same input for both: what the first was given, the second sees where it lies.
    other.inputs["embedding"][:] = 0
    one.outputs["again"] = one.inputs["embedding"]
    one._staged["again"] = one._staged["embedding"]
    other.connect("embedding", one, "again")
    del one.outputs["again"]
    engines.ready()
    one.inputs["embedding"][:] = np.random.default_rng(0).normal(size=one.inputs["embedding"].shape)
    one.run()
    other.run()
    np.testing.assert_array_equal(one.outputs["share"], other.outputs["share"])
    assert other.outputs["share"].std() > 0
    engines.close()


def damage(place: Path, what: str) -> None:
    """Spoil the engine of the cells head."""
    (sidecar,) = (place / "engines").glob("cells.fp16.*.json")
    plan = sidecar.with_name(sidecar.name.removesuffix(".json") + ".plan")
    values = json.loads(sidecar.read_text())
    if what == "gone":
        plan.unlink()
        sidecar.unlink()
    elif what == "plan gone":
        plan.unlink()
    elif what == "cut":
        plan.write_bytes(plan.read_bytes()[:-100])
    elif what == "flipped":
        content = bytearray(plan.read_bytes())
        content[len(content) // 2] ^= 0xFF
        plan.write_bytes(content)
    elif what == "no plan":
        content = bytearray(b"not a plan" * 100)
        plan.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        values["plan"] = {"sha256": digest, "nbytes": len(content)}
    elif what == "sidecar":
        sidecar.write_text("{")
    else:
        values["key"][what] = {"gpu": "Orin", "options": []}.get(what, "9.9.9")
    if what != "gone" and what != "sidecar":
        sidecar.write_text(json.dumps(values))
        mark_as_built_here(sidecar)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("gone", r"no engine of 'nets/cells.fp16.onnx'; build it on this machine with 'edge-reloc"),
        ("plan gone", r"is cut off or missing, expected \d+ bytes; build it again"),
        ("cut", r"is cut off or missing, expected \d+ bytes; build it again"),
        ("flipped", "is damaged, its hash is another"),
        ("no plan", "cannot load it: .*; build it again"),
        ("sidecar", "not a readable engine side-car"),
        ("onnx_sha256", "the network changed: built 9.9.9, now"),
        ("tensorrt_version", "TensorRT changed: built 9.9.9, now"),
        ("gpu", "the GPU changed: built Orin, now"),
        ("compute_capability", "the compute capability changed: built 9.9.9, now"),
    ],
)
def test_an_engine_that_does_not_fit_is_one_clear_line(
    place: Path, open_gpu: Any, what: str, words: str
) -> None:
    damage(place, what)
    with pytest.raises(EngineError, match=words) as error:
        Localizer.open(
            open_bundle(place), demo_camera(), Settings(engine="tensorrt"), gpu=open_gpu()
        )
    assert "\n" not in str(error.value)


def test_a_missing_package_is_one_clear_line(
    place: Path, open_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EdgeRelocError, match="tensorrt is not installed") as error:
        Localizer.open(
            open_bundle(place), demo_camera(), Settings(engine="tensorrt"), gpu=open_gpu()
        )
    assert "\n" not in str(error.value)


def test_only_auto_falls_back(
    place: Path, open_gpu: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    damage(place, "cut")
    monkeypatch.setattr("edge_reloc.localizer.open_gpu", open_gpu)
    bundle, camera = open_bundle(place), demo_camera()
    for engine in (None, "tensorrt"):  # engines lie beside the map, and there is a GPU
        with pytest.raises(EngineError, match="is cut off"):
            Localizer.open(bundle, camera, Settings(engine=engine))
    with caplog.at_level(logging.WARNING):
        localizer = Localizer.open(bundle, camera, Settings(engine="auto", threads=1))
    assert localizer.settings.engine == "onnxruntime" and localizer.gpu is None
    assert "is cut off" in caplog.text and "goes on with ONNX Runtime" in caplog.text
    assert all(pose.status is Status.OK for pose in localise(localizer))


@pytest.fixture
def elsewhere(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The map with its engines, copied to a machine with another secret."""
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "elsewhere"))
    make_secret()
    return place


def test_engines_of_another_machine_are_refused(elsewhere: Path, open_gpu: Any) -> None:
    bundle, camera = open_bundle(elsewhere), demo_camera()
    with pytest.raises(EngineError, match=r"was not built on this machine .*--trust-en") as error:
        Localizer.open(bundle, camera, Settings(engine="tensorrt"), gpu=open_gpu())
    assert "\n" not in str(error.value)
    settings = Settings(engine="tensorrt", trust_engines=True, threads=1)
    localizer = Localizer.open(bundle, camera, settings, gpu=open_gpu())
    assert localizer.engine_name.startswith("TensorRT")
    assert all(pose.status is Status.OK for pose in localise(localizer))


@pytest.mark.parametrize(
    ("engine", "words"),
    [("auto", "was not built on this machine"), (None, "no engine that was built on this machine")],
)
def test_engines_of_another_machine_are_left_alone(
    elsewhere: Path,
    open_gpu: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    engine: str | None,
    words: str,
) -> None:
    monkeypatch.setattr("edge_reloc.localizer.open_gpu", open_gpu)
    open_gpu().close()  # skips where there is no GPU: then nothing would be asked of engines
    with caplog.at_level(logging.WARNING):
        localizer = Localizer.open(
            open_bundle(elsewhere), demo_camera(), Settings(engine=engine, threads=1)
        )
    assert localizer.settings.engine in ("onnxruntime", None) and localizer.gpu is None
    assert localizer.engine_name == "ONNX Runtime"
    (warning,) = [r.getMessage() for r in caplog.records if "engine" in r.getMessage()]
    assert words in warning and "\n" not in warning
    assert all(pose.status is Status.OK for pose in localise(localizer))


def test_no_file_lets_host_code_run(
    place: Path, open_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side-car may say version-compatible, even one that was written here."""
    if STAND_IN is None:
        pytest.skip("only the stand-in loads a plan that is not what its side-car says")
    (sidecar,) = (place / "engines").glob("cells.fp16.*.json")
    values = json.loads(sidecar.read_text())
    values["key"]["options"] = ["version_compatible=True"]
    sidecar.write_text(json.dumps(values))
    mark_as_built_here(sidecar)
    runtime, allowed = sys.modules["tensorrt"].Runtime, []
    load = runtime.deserialize_cuda_engine

    def watch(self: Any, plan: bytes) -> Any:
        allowed.append(self.engine_host_code_allowed)
        return load(self, plan)

    monkeypatch.setattr(runtime, "deserialize_cuda_engine", watch)
    bundle, gpu = open_bundle(place), open_gpu()
    with pytest.raises(EngineError, match=r"carries code for the processor .*--engine-host-code"):
        TensorRtEngines(bundle, Arena(), gpu, trust=True).open(CELLS)
    assert allowed == []
    engines = TensorRtEngines(bundle, Arena(), gpu, host_code=True)
    engines.open(CELLS)
    engines.open(GENERATIVE)
    assert allowed == [True, False]
    engines.close()


def test_nothing_is_left_on_the_device(prepared: Path, open_gpu: Any) -> None:
    if STAND_IN is None:
        pytest.skip("only the stand-in counts what is taken")
    import ctypes

    driver = ctypes.CDLL("libcuda.so.1")
    before = driver.stand_in_count(b"device_bytes")
    gpu = open_gpu()
    localizer = Localizer.open(
        open_bundle(prepared), demo_camera(), Settings(engine="tensorrt"), gpu=gpu
    )
    during = driver.stand_in_count(b"device_bytes")
    launches = driver.stand_in_count(b"graphs_run")
    localise(localizer)
    assert driver.stand_in_count(b"graphs_run") >= launches + 3 * FRAMES  # 2 engines, 1 matcher
    assert during > before == driver.stand_in_count(b"device_bytes")
