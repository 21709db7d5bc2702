"""Where a training runs."""

from __future__ import annotations

import torch

from edge_reloc.errors import ConfigError


def training_device(asked: str) -> torch.device:
    """The device of "cpu", "cuda" or "auto"; ConfigError where there is no such GPU."""
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {asked}: PyTorch finds no GPU here; use --device cpu")
    return torch.device(asked)
