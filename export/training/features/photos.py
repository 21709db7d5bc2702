"""Training photos, decoded once and kept grey and small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from edge_reloc.errors import ConfigError

SUFFIXES = {".jpg", ".jpeg", ".png"}


class Photos:
    """N grey photos, uint8, in one flat tensor that moves to a device as a whole."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        self.sizes = torch.tensor(sizes)
        self.starts = torch.tensor([0, *np.cumsum([h * w for h, w in sizes])])
        self.pixels = torch.from_numpy(np.concatenate([image.ravel() for image in images]))

    def __len__(self) -> int:
        return len(self.sizes)

    def to(self, device: torch.device) -> Photos:
        """The same with its pixels there."""
        self.pixels = self.pixels.to(device)
        return self

    def image(self, index: int) -> Tensor:
        """(H,W) uint8."""
        height, width = self.sizes[index].tolist()
        return self.pixels[self.starts[index] : self.starts[index + 1]].view(height, width)


def read_photos(folders: Iterable[Path], *, longest_px: int, shortest_px: int) -> Photos:
    """All photos of the folders, sorted, none longer than `longest_px`.

    Photos whose shorter side is then below `shortest_px` are left out. A folder that
    holds `mapping.txt` is a scene: only its mapping photos are taken, never its queries.
    """
    images = []
    for folder in folders:
        for path in _paths(folder):
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if image is None:
                continue
            scale = longest_px / max(image.shape)
            if scale < 1.0:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if min(image.shape) >= shortest_px:
                images.append(np.asarray(image, np.uint8))
    if not images:
        raise ConfigError(f"{', '.join(map(str, folders))}: no photos of {shortest_px} px or more")
    return Photos(images)


def _paths(folder: Path) -> list[Path]:
    listed = folder / "mapping.txt"
    if listed.is_file():
        return [folder / "images" / name for name in listed.read_text().split()]
    found = folder / "images" if (folder / "images").is_dir() else folder
    return sorted(p for p in found.rglob("*") if p.suffix.lower() in SUFFIXES)
