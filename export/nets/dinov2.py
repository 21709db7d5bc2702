"""DINOv2's class token as an image embedding, for users who have its weights.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision",
TMLR 2024. The weights are a folder as `transformers` saves it; nothing is
downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.errors import ConfigError, EngineError, missing_package

from ..onnx.export import export_module

SIDE_PX = 224  # 16 x 16 patches of 14 pixels; 518 is four times the work
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


class Dinov2Embedding(nn.Module):
    """RGB image (1,3,S,S) float32 in 0..255 to a unit vector (E,).

    The vector is the class token after the last layer norm, divided by its length.
    ViSiR adds noise of variance 1 to the token itself: scaled to the unit vector
    that is 1 / `token_length`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, side_px: int = SIDE_PX) -> None:
        super().__init__()
        patch = int(model.config.patch_size)
        if side_px % patch or side_px < patch:
            raise ConfigError(
                f"dinov2: input side is {side_px} pixels, expected a multiple of {patch}"
            )
        self.model = model
        self.side_px = side_px
        self.dim = int(model.config.hidden_size)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1))
        _fix_positions(model.embeddings, side_px)

    def token(self, image_13SS: Tensor) -> Tensor:
        """The class token (E,), not normalised."""
        pixels = (image_13SS - self.mean) / self.std
        token: Tensor = self.model(pixel_values=pixels).pooler_output
        return token.squeeze(0)

    def forward(self, image_13SS: Tensor) -> Tensor:
        """The class token's direction (E,)."""
        return F.normalize(self.token(image_13SS), dim=0)


def load_dinov2(weights: Path, side_px: int = SIDE_PX) -> Dinov2Embedding:
    """DINOv2 from a folder with config.json and weights. Raises EngineError."""
    try:
        from transformers import Dinov2Model
    except ImportError:
        raise missing_package("transformers", "the dinov2 embedding", "dinov2") from None
    if not (weights / "config.json").is_file():
        raise EngineError(
            f"{weights}: no config.json; expected a folder as transformers saves it, such as a "
            f"local copy of facebook/dinov2-base"
        )
    try:
        model = Dinov2Model.from_pretrained(
            str(weights), local_files_only=True, attn_implementation="eager"
        )
    except Exception as error:  # transformers raises a dozen unrelated classes
        raise EngineError(f"{weights}: transformers cannot load DINOv2: {error}") from error
    return Dinov2Embedding(model.eval(), side_px).eval()


def export_dinov2(weights: Path, output: Path, side_px: int = SIDE_PX) -> int:
    """Write the embedding network (.onnx); the embedding's length E.

    Input `image` (1,3,S,S) float32 RGB in 0..255; output `embedding` (E,).
    """
    module = load_dinov2(weights, side_px)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, side_px, side_px), generator=generator) * 255
    export_module(module, [image], ["image"], ["embedding"], output)
    return module.dim


def _fix_positions(embeddings: Any, side_px: int) -> None:
    """Resample the position embeddings once, so that the graph need not."""
    patches = side_px // embeddings.patch_embeddings.projection.kernel_size[0]
    stored = embeddings.position_embeddings.data
    tokens = stored.new_zeros((1, patches * patches + 1, stored.shape[-1]))
    with torch.no_grad():
        resampled = embeddings.interpolate_pos_encoding(tokens, side_px, side_px)
    embeddings.position_embeddings = nn.Parameter(resampled.clone(), requires_grad=False)
