"""The DINOv2 embedding, with a small network of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

from edge_reloc.embedding.dinov2 import DinoV2Embedder
from edge_reloc.errors import BundleError, ConfigError, EngineError
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.structs import Features, Frame
from edge_reloc_export.nets.dinov2 import export_dinov2, load_dinov2

SIDE = 56  # 4 x 4 patches; the weights were "trained" at 5 x 5
DIM = 48
FLOAT32_NOISE = 1e-4  # over two transformer blocks, on a unit vector


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=70,
        patch_size=14,
        initializer_range=0.3,  # at the default, 0.02, the image hardly counts
    )
    model = transformers.Dinov2Model(config)
    with torch.no_grad():
        model.embeddings.position_embeddings.normal_()
    folder = tmp_path_factory.mktemp("dinov2")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def network(weights: Path) -> Path:
    path = weights / "out" / "dinov2.onnx"
    path.parent.mkdir()
    assert export_dinov2(weights, path, SIDE) == DIM
    return path


def _embed(network: Path, image: np.ndarray, turns: int | None = None) -> np.ndarray:
    arena = Arena()
    embedder = DinoV2Embedder(open_engine(network, arena))
    assert embedder.dim == DIM
    features = Features(arena, 16, 4, DIM)
    camera = Camera(model="pinhole", width=64, height=48, fx=1, fy=1, cx=1, cy=1)
    embedder.embed(Frame(image=image, t_ns=0, camera=camera, quarter_turns=turns), features)
    return features.embedding.copy()


def _picture() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2)


def test_the_runtime_gives_the_class_token_of_transformers(weights: Path, network: Path) -> None:
    image = _picture()
    square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    rgb = torch.from_numpy(square.astype(np.float32) / 255).permute(2, 0, 1)[None]
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    model = transformers.Dinov2Model.from_pretrained(weights).eval()
    with torch.no_grad():
        token = model((rgb - mean) / std).last_hidden_state[0, 0].numpy()
    expected = token / np.linalg.norm(token)
    np.testing.assert_allclose(_embed(network, image), expected, atol=FLOAT32_NOISE)


def test_colour_heading_and_grey_are_taken_into_account(network: Path) -> None:
    image = _picture()
    embedding = _embed(network, image)
    assert abs(float(np.linalg.norm(embedding)) - 1) < FLOAT32_NOISE
    swapped = _embed(network, np.ascontiguousarray(image[:, :, ::-1]))
    assert np.abs(swapped - embedding).max() > 10 * FLOAT32_NOISE
    upside_down = np.ascontiguousarray(np.rot90(image, 2))
    np.testing.assert_allclose(_embed(network, upside_down, 2), embedding, atol=FLOAT32_NOISE)
    assert np.abs(_embed(network, upside_down) - embedding).max() > 10 * FLOAT32_NOISE
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(
        _embed(network, grey), _embed(network, np.dstack([grey] * 3)), atol=FLOAT32_NOISE
    )


def test_wrong_folders_and_sizes_are_one_clear_error(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no config\.json; expected a folder"):
        load_dinov2(tmp_path)
    (tmp_path / "config.json").write_text((weights / "config.json").read_text())
    with pytest.raises(EngineError, match="transformers cannot load DINOv2"):
        load_dinov2(tmp_path)
    with pytest.raises(ConfigError, match="input side is 60 pixels, expected a multiple of 14"):
        load_dinov2(weights, 60)


def test_another_network_is_refused() -> None:
    class Other:
        inputs: dict[str, Any] = {"pixels": np.zeros((1, 3, 4, 4), np.float32)}  # noqa: RUF012
        outputs: dict[str, Any] = {"embedding": np.zeros(4, np.float32)}  # noqa: RUF012

    with pytest.raises(BundleError, match="takes 'pixels' as well"):
        DinoV2Embedder(Other())  # type: ignore[arg-type]
