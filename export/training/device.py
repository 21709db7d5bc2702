"""Where a training runs, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from edge_reloc.errors import ConfigError


def training_device(asked: str) -> torch.device:
    """The device of "cpu", "cuda" or "auto"; ConfigError where there is no such GPU."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {asked}: PyTorch finds no GPU here; use --device cpu")
    return torch.device(asked)


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """Context of a forward pass: bfloat16 where the device multiplies in it, float32 elsewhere.

    Twice as fast where a processor has it; where it has not, eighty times as slow.
    """
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device.type == "cuda" or (asked is not None and asked()):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
