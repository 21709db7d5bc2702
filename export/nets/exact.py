"""Layers whose numbers are places, which half precision is too coarse for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ExactLinear(nn.Linear):
    """Stays float32 under autocast: a coordinate of bfloat16 has eight bits."""

    def forward(self, input: Tensor) -> Tensor:
        """(...,in) -> (...,out)."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        with torch.autocast(kind, enabled=False):
            return super().forward(input.float())
