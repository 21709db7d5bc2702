"""DINOv2's class token, by a small network of random weights with the published names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from dinov2_weights import DIM, write_dinov2

from edge_reloc.embedding.dinov2 import DinoV2Embedder
from edge_reloc.errors import BundleError, ConfigError, EngineError
from edge_reloc.geometry.camera import Camera
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.structs import Features, Frame
from edge_reloc_export.nets.dinov2 import export_dinov2, load_dinov2
from edge_reloc_export.onnx.describe import describe

SIDE = 56  # 4 x 4 patches
FLOAT32_NOISE = 2e-4  # over two transformer blocks, on numbers of about 1


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dinov2(tmp_path_factory.mktemp("dinov2") / "vit_pretrain.pth", grid=4)


@pytest.fixture(scope="module")
def network(weights: Path) -> Path:
    path = weights.parent / "dinov2.onnx"
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


def _theirs(weights: Path, registers: int) -> Any:
    """The network of `transformers`, another implementation, with the same weights."""
    transformers = pytest.importorskip("transformers")
    kinds = (transformers.Dinov2Config, transformers.Dinov2Model)
    if registers:
        kinds = (transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel)
    state = torch.load(weights, weights_only=True)
    config = kinds[0](
        hidden_size=DIM, num_hidden_layers=2, num_attention_heads=1, image_size=SIDE, patch_size=14
    )
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in {
            "patch_embed.proj": "embeddings.patch_embeddings.projection",
            "pos_embed": "embeddings.position_embeddings",
            "cls_token": "embeddings.cls_token",
            "mask_token": "embeddings.mask_token",
            "register_tokens": "embeddings.register_tokens",
            "blocks.": "encoder.layer.",
            "attn.proj": "attention.o_proj",
            "ls1.gamma": "layer_scale1.lambda1",
            "ls2.gamma": "layer_scale2.lambda1",
        }.items():
            name = name.replace(ours, theirs)
        name = f"layernorm{name[4:]}" if name.startswith("norm.") else name
        if "attn.qkv" in name:
            for kind, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.{kind}_proj")] = part
        else:
            renamed[name] = tensor
    model = kinds[1](config).eval()
    model.load_state_dict(renamed)
    return model


@pytest.mark.parametrize("registers", [0, 4], ids=["plain", "with registers"])
def test_the_runtime_gives_the_class_token_of_transformers(registers: int, tmp_path: Path) -> None:
    weights = write_dinov2(tmp_path / "vit.pth", grid=4, registers=registers)
    export_dinov2(weights, tmp_path / "vit.onnx", SIDE)
    image = _picture()
    square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    rgb = torch.from_numpy(square.astype(np.float32) / 255).permute(2, 0, 1)[None]
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        token = _theirs(weights, registers)((rgb - mean) / std).last_hidden_state[0, 0].numpy()
    # ViSiR, section 5: "the class token", on which noise of variance 1 is added: as it is
    assert np.linalg.norm(token) > 2
    np.testing.assert_allclose(_embed(tmp_path / "vit.onnx", image), token, atol=FLOAT32_NOISE)


def test_position_embeddings_of_another_grid_are_resampled(tmp_path: Path) -> None:
    """A ramp over the published grid is a ramp over the wanted one."""
    for registers in (0, 2):
        weights = write_dinov2(tmp_path / "vit.pth", grid=37, registers=registers)
        state = torch.load(weights, weights_only=True)
        ramp = torch.linspace(0, 1, 37)[None, :].expand(37, 37).reshape(1, -1, 1)
        state["pos_embed"][:, 1:] = ramp
        torch.save(state, weights)
        found = load_dinov2(weights, 224).pos_embed[0, 1:].reshape(16, 16, DIM)
        middles = (torch.arange(16) + 0.5) / 16
        np.testing.assert_allclose(found[8, :, 0][1:-1], middles[1:-1], atol=0.03)
        np.testing.assert_allclose(found[3], found[12], atol=1e-5)


def test_colour_heading_and_grey_are_taken_into_account(network: Path) -> None:
    image = _picture()
    embedding = _embed(network, image)
    swapped = _embed(network, np.ascontiguousarray(image[:, :, ::-1]))
    assert np.abs(swapped - embedding).max() > 10 * FLOAT32_NOISE
    upside_down = np.ascontiguousarray(np.rot90(image, 2))
    np.testing.assert_allclose(_embed(network, upside_down, 2), embedding, atol=FLOAT32_NOISE)
    assert np.abs(_embed(network, upside_down) - embedding).max() > 10 * FLOAT32_NOISE
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(
        _embed(network, grey), _embed(network, np.dstack([grey] * 3)), atol=FLOAT32_NOISE
    )


def test_a_device_can_plan_its_memory(network: Path) -> None:
    told = describe(network.read_bytes(), "nets/dinov2.onnx")  # refuses unknown operators
    assert told.inputs["image"].shape == (1, 3, SIDE, SIDE)
    assert told.outputs["embedding"].shape == (DIM,)


def test_wrong_weights_and_sizes_are_one_clear_error(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no such weights file; give DINOv2's published"):
        load_dinov2(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(EngineError, match="damaged or not a state dict"):
        load_dinov2(tmp_path / "text.pth")
    state = torch.load(weights, weights_only=True)
    torch.save({"blocks.0.norm1.weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(EngineError, match=r"not DINOv2's state dict \('patch_embed.proj.weight'\)"):
        load_dinov2(tmp_path / "other.pth")
    del state["blocks.1.ls2.gamma"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(EngineError, match=r'state dict \(Missing key.*"blocks.1.ls2.gamma"'):
        load_dinov2(tmp_path / "part.pth")
    with pytest.raises(ConfigError, match="input side is 60 pixels, expected a multiple of 14"):
        load_dinov2(weights, 60)


def test_another_network_is_refused() -> None:
    class Other:
        inputs: dict[str, Any] = {"pixels": np.zeros((1, 3, 4, 4), np.float32)}  # noqa: RUF012
        outputs: dict[str, Any] = {"embedding": np.zeros(4, np.float32)}  # noqa: RUF012

    with pytest.raises(BundleError, match="takes 'pixels' as well"):
        DinoV2Embedder(Other())  # type: ignore[arg-type]
