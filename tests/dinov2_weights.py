"""State dicts named as DINOv2's published ones, small and of random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from edge_reloc_export.nets.dinov2 import Dinov2, VitShape

DIM = 64  # one head of attention


def write_dinov2(path: Path, *, grid: int = 16, registers: int = 0) -> Path:
    """Two blocks, whose position embeddings are for grid x grid patches."""
    torch.manual_seed(0)
    shape = VitShape(
        width=DIM, depth=2, patch_px=14, grid=grid, hidden=4 * DIM, registers=registers
    )
    network = Dinov2(shape)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)  # a signal keeps its size
            elif "token" in name or "pos_embed" in name:
                parameter.normal_(std=0.3)
    torch.save({**network.state_dict(), "mask_token": torch.zeros(1, DIM)}, path)
    return path
