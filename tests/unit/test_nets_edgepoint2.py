"""EdgePoint2: all sizes against values of the published network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edge_reloc.errors import EngineError
from edge_reloc.features import NetworkSpec
from edge_reloc_export.nets.edgepoint2 import load_edgepoint2
from edge_reloc_export.nets.local_features import load_local_features
from edge_reloc_export.onnx.export import export_features, feature_spec

# From the published network, its published weights and `_pattern`: logits at
# (y, x) = (10, 20), (31, 47), (50, 80), and descriptor channels 0, 7, 20, 31 at cells
# (2, 3), (8, 11), (12, 20), (15, 23); rounded to four decimals.
PUBLISHED = {
    "T32": ([-10.1067, -15.5493, -21.9542], [0.2366, -0.3061, 0.0954, 0.4557]),
    "S32": ([-11.8141, -14.9924, -18.508], [0.5277, -0.3742, -0.0506, -0.2016]),
    "S64": ([-10.9402, -16.1527, -21.3872], [-0.5201, -0.1666, -0.5576, 0.2888]),
    "M64": ([-8.8555, -15.8021, -18.4762], [-0.2137, -0.2128, 0.7914, 0.0228]),
    "L64": ([-13.5223, -17.8686, -23.2524], [0.0796, 0.0704, -0.0541, -0.1519]),
    "E64": ([-13.0023, -15.8337, -22.2093], [-0.4707, 0.2834, 0.0359, -1.0257]),
}
ROUNDING = 5e-4  # of the values above, plus float32 sums in another order
KEYPOINTS = 256


def _pattern() -> torch.Tensor:
    y, x = np.mgrid[:64, :96]
    image = 127 + 60 * np.sin(x / 3.0) * np.cos(y / 5.0) + 50 * ((x // 12 + y // 9) % 2)
    return torch.from_numpy(image.astype(np.float32))[None, None]


@pytest.mark.data
@pytest.mark.parametrize("size", PUBLISHED)
def test_maps_agree_with_the_published_network(weights_dir: Path, size: str) -> None:
    model = load_edgepoint2(weights_dir / f"edgepoint2_{size}.pth")
    with torch.no_grad():
        descriptors, logits = model(_pattern())
    expected_logits, expected_descriptors = PUBLISHED[size]
    found = logits[0, 0, [10, 31, 50], [20, 47, 80]].numpy()
    np.testing.assert_allclose(found, expected_logits, atol=ROUNDING)
    found = descriptors[0, [0, 7, 20, 31], [2, 8, 12, 15], [3, 11, 20, 23]].numpy()
    np.testing.assert_allclose(found, expected_descriptors, atol=ROUNDING)
    assert descriptors.shape == (1, int(size[1:]), 16, 24)


@pytest.mark.data
def test_the_exported_graph_agrees_with_torch(weights_dir: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    weights, path = weights_dir / "edgepoint2_T32.pth", tmp_path / "edgepoint2.onnx"
    export_features("edgepoint2", weights, 96, 64, KEYPOINTS, path)
    image = _pattern() + torch.rand((1, 1, 64, 96), generator=torch.Generator().manual_seed(4)) * 9
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    xy, scores, descriptors = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        expected = load_local_features("edgepoint2", weights, KEYPOINTS)(image)
    found = scores > 0
    assert 5 < found.sum() < KEYPOINTS
    np.testing.assert_allclose(xy[found], expected.xy_px.numpy()[found], atol=1e-2)
    cosine = (descriptors * expected.descriptors.numpy()).sum(axis=1)[found]
    assert cosine.min() > 0.9999
    spec = feature_spec(
        "edgepoint2", weights, KEYPOINTS, [NetworkSpec(file=path.name, width=96, height=64)]
    )
    assert (spec.dim, spec.min_similarity) == (32, 0.88)


@pytest.mark.data
def test_other_weights_are_one_clear_error(weights_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.pth: no such weights file"):
        load_edgepoint2(tmp_path / "none.pth")
    source = weights_dir / "edgepoint2_T32.pth"
    cut = tmp_path / "cut.pth"
    cut.write_bytes(source.read_bytes()[:50_000])
    with pytest.raises(EngineError, match=r"cut\.pth: damaged or not a state dict"):
        load_edgepoint2(cut)
    state = torch.load(source, map_location="cpu", weights_only=True)
    changed = tmp_path / "changed.pth"

    def refused(values: dict[str, torch.Tensor]) -> str:
        torch.save(values, changed)
        with pytest.raises(EngineError) as caught:
            load_edgepoint2(changed)
        return str(caught.value)

    assert "not EdgePoint2's state dict" in refused({"weight": torch.zeros(3, 3)})
    line = refused({**state, "block2.layer.3.weight": torch.zeros(16, 12, 3, 3)})
    assert "'block2.layer.3.weight'" in line and "[16, 12, 3, 3], expected [16, 16, 3, 3]" in line
    norm = {k: v for k, v in state.items() if k != "block3.layer.1.running_var"}
    assert "tensor 'block3.layer.1.running_var' is missing" in refused(norm)
