"""XFeat against the file its weights come from, on real photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from edge_reloc.bundle.fields import read_fields
from edge_reloc.errors import EngineError
from edge_reloc.features import FeatureSpec, NetworkSpec
from edge_reloc.features.extractor import open_extractor
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.structs import Features, Frame
from edge_reloc_export.nets.local_features import load_local_features
from edge_reloc_export.nets.xfeat import load_xfeat
from edge_reloc_export.onnx.export import export_features, feature_spec

PHOTOS = ("000000.jpg", "000405.jpg")
# Float32 sums in another order, over some twenty layers; the maps reach 8, 20 and 1.
DESCRIPTOR_TOLERANCE, LOGIT_TOLERANCE, RELIABILITY_TOLERANCE = 2e-3, 2e-3, 1e-4
WIDTH, HEIGHT, KEYPOINTS = 500, 380, 512  # no multiples of 32
SAME_POSITION_PX = 0.01
SAME_SHARE = 0.99  # the rest are ties, or heat within rounding of its neighbour


@pytest.fixture(scope="module")
def weights(weights_dir: Path) -> Path:
    return weights_dir / "xfeat.onnx"


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xfeat") / "xfeat.onnx"
    export_features("xfeat", weights, WIDTH, HEIGHT, KEYPOINTS, path)
    return path


def _photo(data_dir: Path, name: str, width: int, height: int) -> np.ndarray:
    image = cv2.imread(str(data_dir / "kitchen" / "images" / name), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.data
@pytest.mark.parametrize("name", PHOTOS)
def test_maps_agree_with_the_source_file(weights: Path, data_dir: Path, name: str) -> None:
    grey = _photo(data_dir, name, 640, 640).astype(np.float32)[None, None]
    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    source = session.run(None, {session.get_inputs()[0].name: np.repeat(grey, 3, axis=1)})
    with torch.no_grad():
        ours = load_xfeat(weights)(torch.from_numpy(grey))
    tolerances = (DESCRIPTOR_TOLERANCE, LOGIT_TOLERANCE, RELIABILITY_TOLERANCE)
    for expected, found, tolerance in zip(source, ours, tolerances, strict=True):
        np.testing.assert_allclose(found.numpy(), expected, atol=tolerance, rtol=0)


@pytest.mark.data
@pytest.mark.parametrize("name", PHOTOS)
def test_the_exported_graph_agrees_with_torch(
    weights: Path, exported: Path, data_dir: Path, name: str
) -> None:
    grey = _photo(data_dir, name, WIDTH, HEIGHT).astype(np.float32)[None, None]
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    xy, scores, descriptors = session.run(None, {"image": grey})
    with torch.no_grad():
        expected = load_local_features("xfeat", weights, KEYPOINTS)(torch.from_numpy(grey))
    distance = np.linalg.norm(xy[:, None] - expected.xy_px.numpy()[None], axis=2)
    same = distance.min(axis=1) < SAME_POSITION_PX
    assert same.mean() >= SAME_SHARE
    partner = distance.argmin(axis=1)
    cosine = (descriptors * expected.descriptors.numpy()[partner]).sum(axis=1)
    assert cosine[same].min() > 0.9999
    assert (np.diff(scores) <= 0).all()
    assert xy.min() >= -0.5 and (xy <= [WIDTH - 0.5, HEIGHT - 0.5]).all()


@pytest.mark.data
def test_the_exported_graph_is_one_static_file(exported: Path) -> None:
    model = onnx.load(str(exported), load_external_data=False)
    assert model.opset_import[0].version <= 20
    assert all(t.data_location != onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": [1, 1, HEIGHT, WIDTH],
        "xy_px": [KEYPOINTS, 2],
        "scores": [KEYPOINTS],
        "descriptors": [KEYPOINTS, 64],
    }
    beside = {path.name for path in exported.parent.iterdir()}
    assert beside == {exported.name, exported.with_suffix(".pt2").name}


@pytest.mark.data
def test_the_runtime_matches_a_photo_with_itself_turned(
    weights: Path, exported: Path, data_dir: Path
) -> None:
    network = NetworkSpec(file=exported.name, width=WIDTH, height=HEIGHT)
    spec = feature_spec("xfeat", weights, KEYPOINTS, [network])
    assert (spec.kind, spec.dim, spec.min_similarity) == ("xfeat", 64, 0.82)
    assert read_fields(FeatureSpec, spec.to_dict(), "") == spec
    camera = Camera(model="pinhole", width=WIDTH, height=HEIGHT, fx=400, fy=400, cx=250, cy=190)
    arena = Arena()
    extractor = open_extractor(
        spec, camera, lambda file: open_engine(exported.parent / file, arena)
    )
    image = _photo(data_dir, PHOTOS[0], WIDTH, HEIGHT)
    turn = cv2.getRotationMatrix2D(((WIDTH - 1) / 2, (HEIGHT - 1) / 2), 10.0, 1.0)
    turned = cv2.warpAffine(image, turn, (WIDTH, HEIGHT))
    found = []
    for picture in (image, turned, np.zeros_like(image)):
        features = Features(arena, KEYPOINTS, spec.dim, 0)
        extractor.extract(Frame(image=picture, t_ns=0, camera=camera), features)
        found.append(features)
    a, b, black = found
    assert black.n == 0
    similarity = a.descriptor[: a.n] @ b.descriptor[: b.n].T
    rows = np.arange(a.n)
    best = similarity.argmax(axis=1)
    rows = rows[(similarity.argmax(axis=0)[best] == rows) & (similarity[rows, best] > 0.82)]
    truth = a.xy_px[rows] @ turn[:, :2].T + turn[:, 2]
    rows = rows[((truth > 0) & (truth < [WIDTH - 1, HEIGHT - 1])).all(axis=1)]
    truth = a.xy_px[rows] @ turn[:, :2].T + turn[:, 2]
    error = np.linalg.norm(truth - b.xy_px[best[rows]], axis=1)
    # Measured: 217 right, 74 %, 0.7 px. XFeat was not made for turned photos.
    assert (error < 3).sum() > 150
    assert (error < 3).mean() > 0.65
    assert np.median(error[error < 3]) < 1.0


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"nowhere\.onnx: no such weights file"):
        load_xfeat(tmp_path / "nowhere.onnx")


@pytest.mark.data
def test_a_truncated_file_is_one_clear_error(weights: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(EngineError, match=r"broken\.onnx: damaged or not an ONNX file"):
        load_xfeat(broken)


@pytest.mark.data
def test_wrong_tensors_are_named(weights: Path, tmp_path: Path) -> None:
    model = onnx.load(str(weights))
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    tensor = next(t for t in model.graph.initializer if t.name == first.input[1])
    original = onnx.TensorProto()
    original.CopyFrom(tensor)

    def refused(values: np.ndarray) -> str:
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        path = tmp_path / "changed.onnx"
        onnx.save(model, str(path))
        with pytest.raises(EngineError) as caught:
            load_xfeat(path)
        return str(caught.value)

    line = refused(np.zeros((4, 3, 3, 3), np.float32))
    assert f"'{original.name}'" in line and "[4, 3, 3, 3], expected [4, 1, 3, 3]" in line
    assert "not finite" in refused(np.full((4, 1, 3, 3), np.nan, np.float32))
    tensor.CopyFrom(original)
    model.graph.node.remove(first)
    path = tmp_path / "shorter.onnx"
    onnx.save(model, str(path))
    with pytest.raises(EngineError, match="found 26 convolutions, expected XFeat's 27"):
        load_xfeat(path)
