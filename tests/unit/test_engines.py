"""Engines without a GPU: built ahead of time, precisions read, mistakes named."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
trt = pytest.importorskip("tensorrt_rtx", reason="builds engines without a GPU: extra 'rtx'")

from onnx import TensorProto, helper, numpy_helper

from edge_reloc.bundle import open_bundle
from edge_reloc.errors import ConfigError, EngineError
from edge_reloc.inference.engine_key import EngineKey, EngineRecord, find_engines, read_sidecar
from edge_reloc.inference.engine_origin import SECRET, built_here
from edge_reloc.running.demo import DEMO
from edge_reloc_export.engines.build import BuildOptions, build_engine, engine_key, read_layers
from edge_reloc_export.engines.flavour import open_flavour
from edge_reloc_export.float16.convert import to_float16
from edge_reloc_export.nets.detector import TENSORRT_MAX_KEYPOINTS
from edge_reloc_export.nets.local_features import float32_layers
from edge_reloc_export.onnx.export import export_features
from edge_reloc_export.onnx.model_file import load_graph

TARGETS = ("sm86", "sm120")
HANGS_S = 600  # it hangs; a build takes 18 s of one processor, which may be shared by ten
HEAVY = {"CONVOLUTION", "MATRIX_MULTIPLY"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that is not the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EDGE_RELOC_CACHE", str(folder))
        yield folder


def build(path: Path, folder: Path, target: str = "sm86") -> EngineRecord:
    flavour = open_flavour(ahead_of_time=True)
    options = BuildOptions()
    key = engine_key(flavour, path, options, target=target, gpu=None)
    return build_engine(flavour, path, key, options, folder, lambda *_: None)


def program(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge_reloc", "export", "engine", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        **options,  # type: ignore[call-overload]
    )


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0], done.stderr


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "network",
    ["cells.fp16", "generative.fp16", "landmarks.fp16", "cells", "generative", "landmarks"],
)
def test_the_demos_networks(network: str, target: str, demo16: Path, tmp_path: Path) -> None:
    record = build(demo16 / "nets" / f"{network}.onnx", tmp_path, target)
    assert record.whole and record.key.target == target
    heavy = [layer for layer in read_layers(record) if layer.kind in HEAVY]
    assert len(heavy) >= 3
    expected = ("HALF",) if "fp16" in network else ("FLOAT",)
    assert {layer.dtypes for layer in heavy} == {expected}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("kind", "file"), [("xfeat", "xfeat.onnx"), ("edgepoint2", "edgepoint2_T32.pth")]
)
def test_feature_networks(
    kind: str, file: str, target: str, weights_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"{kind}.onnx"
    export_features(kind, weights_dir / file, 320, 240, 500, path)
    model = load_graph(path)
    converted = to_float16(model, kind, keep=float32_layers(kind))
    path = tmp_path / f"{kind}.fp16.onnx"
    path.write_bytes(converted.model.SerializeToString())
    layers = {layer.name: layer for layer in read_layers(build(path, tmp_path, target))}
    for node in model.graph.node:
        if node.op_type == "Conv":
            wanted = "FLOAT" if node.name in converted.islands else "HALF"
            assert layers[node.name].dtypes == (wanted,), node.name
    # Which pixel a keypoint is on is never told in float16.
    assert layers["detector/TopK"].dtypes[0] == "FLOAT"
    assert {"FLOAT"} == {
        layers[node.name].dtypes[0]
        for node in model.graph.node
        if node.name.startswith("detector/Floor")
    }


@pytest.mark.parametrize("target", TARGETS)
def test_dinov2(target: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from dinov2_weights import write_dinov2

    from edge_reloc_export.nets.dinov2 import export_dinov2

    export_dinov2(write_dinov2(tmp_path / "vit.pth", grid=2), tmp_path / "dino.onnx", 56)
    converted = to_float16(load_graph(tmp_path / "dino.onnx"), "dino")
    path = tmp_path / "dino.fp16.onnx"
    path.write_bytes(converted.model.SerializeToString())
    layers = read_layers(build(path, tmp_path, target))
    assert {x.dtypes for x in layers if x.kind in HEAVY} == {("HALF",)}
    assert {x.dtypes for x in layers if x.kind in ("SOFTMAX", "NORMALIZATION")} == {("FLOAT",)}


def test_the_program_builds_keeps_and_replaces(demo16: Path, tmp_path: Path) -> None:
    here = ["--map", demo16, "--output", tmp_path]
    common = [*here, "--target", "sm86,sm120"]
    done = program(*common, "--json")
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    (features,) = [n.name for n in (demo16 / "nets").glob("waymark*.fp16.onnx")]
    networks = [features, "cells.fp16.onnx", "generative.fp16.onnx", "landmarks.fp16.onnx"]
    networks.append("scene_coordinates_640x480.fp16.onnx")
    assert [(r["network"], r["target"]) for r in reports] == [
        (network, target) for network in networks for target in TARGETS
    ]
    assert {r["note"] for r in reports} == {"built"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2 * len(reports)  # a plan and a side-car each
    done = program(*common)
    assert done.stdout.count("kept, nothing changed") == len(reports)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    done = program(*here, "--target", "sm86", "--optimisation-level", 1)
    assert "replaces one: the build options changed: built none, now optimisation_level=1" in (
        done.stdout
    )
    assert len(list(tmp_path.iterdir())) == len(before)


def test_the_program_marks_what_it_builds(
    demo16: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And builds again what came from another machine, under the same key."""
    network, out = demo16 / "nets" / "cells.fp16.onnx", tmp_path / "engines"
    command = ["--onnx", network, "--target", "sm86", "--output", out]
    assert program(*command).returncode == 0
    (mine,) = find_engines(out, network.name)
    assert built_here(mine)
    assert (cache / SECRET).stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("EDGE_RELOC_CACHE", str(tmp_path / "elsewhere"))
    assert not built_here(mine)
    done = program(*command)
    assert "replaces one: it was not built on this machine" in done.stdout, done.stderr
    (theirs,) = find_engines(out, network.name)
    assert built_here(theirs) and theirs.key == mine.key
    assert "kept, nothing changed" in program(*command).stdout


def test_the_demo_is_converted_first(demo16: Path, tmp_path: Path) -> None:
    """The package holds float32 networks only; the engines fit the map that it would make."""
    done = program("--demo", "--output", tmp_path, "--target", "sm86", "--json")
    assert done.returncode == 0, done.stderr
    files = open_bundle(demo16).manifest.files
    for report in json.loads(done.stdout):
        assert "HALF" in report["layers"]
        (record,) = find_engines(tmp_path, report["network"])
        assert record.key.onnx_sha256 == files[f"nets/{report['network']}"].sha256


def test_keys_tell_what_changed(demo16: Path, tmp_path: Path) -> None:
    record = build(demo16 / "nets" / "cells.fp16.onnx", tmp_path)
    key = record.key
    assert key.difference(key) is None
    assert key.compute_capability == "8.6" and key.gpu == "any"
    for change, words in (
        ({"onnx_sha256": "0" * 64}, "the network changed: built"),
        ({"tensorrt_version": "10.3.0"}, "TensorRT changed: built 1."),
        ({"compute_capability": "8.7"}, "the compute capability changed: built 8.6, now 8.7"),
        ({"gpu": "Orin"}, "the GPU changed: built any, now Orin"),
        ({"options": ("a=1",)}, "the build options changed: built none, now a=1"),
    ):
        other = replace(key, **change)
        assert words in (key.difference(other) or "")
        assert other.digest != key.digest
    assert find_engines(tmp_path, "cells.fp16.onnx") == [record]
    assert find_engines(tmp_path, "other.onnx") == []
    record.plan.write_bytes(b"cut")
    assert find_engines(tmp_path, "cells.fp16.onnx") == []


def test_sidecars_that_are_none(demo16: Path, tmp_path: Path) -> None:
    good = read_sidecar(build(demo16 / "nets" / "cells.fp16.onnx", tmp_path).path)
    text = good.path.read_text()
    bad = tmp_path / "bad.json"
    for content, words in (
        ("", "not a readable engine side-car"),
        ("[]", "not an engine side-car"),
        (text.replace('"version": 1', '"version": 2', 1), "side-car version 2, expected 1"),
        (text.replace('"onnx_sha256"', '"onnx"', 1), "lacks or garbles"),
        (text.replace('"plan"', '"plane"', 1), "lacks or garbles 'plan'"),
        (text.replace('"tensorrt_rtx"', '"tflite"', 1), "names the package 'tflite', expected one"),
        (text.replace('"tensorrt_rtx"', "[1]", 1), "lacks or garbles 'flavour'"),
        (text.replace('"gpu": "any"', '"gpu": "a\\u001bny"', 1), "lacks or garbles 'gpu'"),
        (text.replace('"sha256": "', '"sha256": "../', 1), "lacks or garbles 'sha256'"),
        ("[" * 100_000, "not a readable engine side-car"),
    ):
        bad.write_text(content)
        with pytest.raises(EngineError, match=f"bad.json: .*{words}.*build the engine again"):
            read_sidecar(bad)


def one_operator(path: Path, operator: str, name: str, shape: list[object]) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape[:1])
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], name=name)], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return path


def test_an_operator_that_tensorrt_lacks(tmp_path: Path) -> None:
    path = one_operator(tmp_path / "det.onnx", "Det", "head.pose/Det", [1, 3, 3])
    with pytest.raises(EngineError, match=r"cannot take layer 'head.pose/Det' \(Det\): it has no"):
        build(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dynamic_shape(tmp_path: Path) -> None:
    path = one_operator(tmp_path / "dynamic.onnx", "Relu", "head/Relu", ["n", 3, 3])
    with pytest.raises(EngineError, match=r"'x' has the dynamic shape \(-1, 3, 3\)"):
        build(path, tmp_path / "out")


def test_a_weight_that_is_no_number(demo16: Path, tmp_path: Path) -> None:
    model = load_graph(demo16 / "nets" / "cells.fp16.onnx")
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[:2] = np.nan, np.inf
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, str(tmp_path / "nan.onnx"))
    with pytest.raises(EngineError, match=r"nan.onnx: 2 weights of '.*' are not finite"):
        build(tmp_path / "nan.onnx", tmp_path / "out")


def test_a_file_that_is_cut_off(demo16: Path, tmp_path: Path) -> None:
    content = (demo16 / "nets" / "cells.fp16.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(EngineError, match=r"cut.onnx: .* it is damaged, or lacks weights"):
        build(tmp_path / "cut.onnx", tmp_path / "out")


def test_more_keypoints_than_topk_takes(weights_dir: Path, tmp_path: Path) -> None:
    for keypoints in (TENSORRT_MAX_KEYPOINTS, TENSORRT_MAX_KEYPOINTS + 1):
        path = tmp_path / f"{keypoints}.onnx"
        export_features("xfeat", weights_dir / "xfeat.onnx", 320, 240, keypoints, path)
    assert build(tmp_path / f"{TENSORRT_MAX_KEYPOINTS}.onnx", tmp_path).whole
    with pytest.raises(EngineError, match="detector/TopK: K exceeds the maximum"):
        build(path, tmp_path)


def test_what_the_program_refuses(demo16: Path, tmp_path: Path) -> None:
    demo = ["--map", demo16, "--output", tmp_path / "out"]
    refused(
        program("--map", DEMO / "map", "--output", tmp_path / "out", "--target", "sm86"),
        "has no 'nets/waymark",
        "edge-reloc export onnx --map",
    )
    refused(program(*demo, "--target", "sm87"), "Orin builds its engines itself")
    refused(program(*demo, "--target", "sm1"), "expected one of sm75, sm80")
    refused(program(*demo, "--target", "sm86", "--version-compatible"), "makes no such plans")
    refused(program(*demo, "--target", "sm86", "--strip-weights"), "needs the GPU")
    refused(program(*demo, "--target", "sm86", "--flavour", "tensorrt"), "its own machine only")
    refused(program(*demo, "--target", "sm86", "--workspace", "much"), "such as 512MiB")
    refused(program("--onnx", tmp_path / "no.onnx", "--target", "sm86", *demo[2:]), "no such")
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused(program("--map", demo16, "--target", "sm86", "--output", blocked), "cannot be made")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_full(demo16: Path, tmp_path: Path) -> None:
    done = program(
        *("--map", demo16, "--target", "sm86", "--output", tmp_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    refused(done, ".fp16.sm86.rtx", "cannot be written (File too large)", "MB are free")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(weights_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_features("xfeat", weights_dir / "xfeat.onnx", 320, 240, 500, path)
    code = (
        "import os, signal, sys\n"
        "from edge_reloc_export import export_engine as t\n"
        "def stop(phase, step, steps):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "t._progress = lambda network, target: stop\n"
        "sys.exit(t.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "--onnx", path, "--target", "sm86"]
    done = subprocess.run(
        [*map(str, command), "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env={**os.environ},
    )
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "interrupted"
    assert not (tmp_path / "out").exists()


def test_packages_that_are_not_here() -> None:
    with pytest.raises(ConfigError, match="found 'tflite', expected one of tensorrt, tensorrt_rtx"):
        open_flavour("tflite")
    if not any(Path(p, "tensorrt").is_dir() for p in sys.path):
        with pytest.raises(Exception, match="--system-site-packages"):
            open_flavour("tensorrt")


def test_a_key_needs_no_package(tmp_path: Path) -> None:
    """The runtime compares keys where no TensorRT is installed."""
    key = EngineKey(
        onnx_sha256="0" * 64,
        flavour="tensorrt",
        tensorrt_version="10.3.0.30",
        gpu="Orin",
        compute_capability="8.7",
    )
    assert key.file_stem("cells.fp16").startswith("cells.fp16.sm87.trt10.3.0.")


def test_the_builder_needs_neither_torch_nor_onnx(demo16: Path, tmp_path: Path) -> None:
    """It runs on the device, where they are not."""
    code = (
        "import sys\n"
        "from edge_reloc_export import __main__ as export\n"
        "code = export.main(['engine', '--target', 'sm86', *sys.argv[1:]])\n"
        "loaded = {'torch', 'onnx', 'pycolmap', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--map", str(demo16), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
