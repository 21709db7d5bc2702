"""Training photos, decoded once and kept grey and small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from edge_reloc.errors import ConfigError, SourceError
from edge_reloc.sources.listing import list_folder, names_in_list
from edge_reloc.sources.photo import load_photo

from ...identity import digest_of

LEVELS = 4


class Photos:
    """N grey photos, uint8, in one flat tensor that moves to a device as a whole.

    Each is kept at its own size and halved up to three times: a view that shows a photo
    smaller than it is takes the level nearest to its own scale.
    """

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        levels = [level for image in images for level in _pyramid(image)]
        self._sizes = torch.tensor([level.shape for level in levels])
        self._starts = torch.tensor([0, *np.cumsum([level.size for level in levels])])
        self.pixels = torch.from_numpy(np.concatenate([level.ravel() for level in levels]))
        self._maps = (self._starts[:-1], self._sizes)

    def __len__(self) -> int:
        return len(self._sizes) // LEVELS

    @property
    def sizes(self) -> Tensor:
        """(N,2) height and width."""
        return self._sizes[::LEVELS]

    def identity(self) -> str:
        """Digest of all that they show."""
        return digest_of(self.pixels, self._sizes)

    def to(self, device: torch.device) -> Photos:
        """The same with its pixels there."""
        self.pixels = self.pixels.to(device)
        self._maps = (self._starts[:-1].to(device), self._sizes.to(device))
        return self

    def levels(self, rows: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Where the levels (B,) of the photos `rows` (B,) begin in `pixels`, (B,), and their
        heights and widths (B,2); all on the device.
        """
        starts, sizes = self._maps
        at = rows * LEVELS + level
        return starts[at], sizes[at]

    def image(self, index: int, level: int = 0) -> Tensor:
        """(H,W) uint8, halved `level` times; its pixels 2^level as large, from the same corner."""
        at = index * LEVELS + level
        height, width = self._sizes[at].tolist()
        return self.pixels[self._starts[at] : self._starts[at + 1]].view(height, width)


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    levels = [image]
    for _ in range(LEVELS - 1):
        even = levels[-1][: levels[-1].shape[0] // 2 * 2, : levels[-1].shape[1] // 2 * 2]
        size = (even.shape[1] // 2, even.shape[0] // 2)
        levels.append(np.asarray(cv2.resize(even, size, interpolation=cv2.INTER_AREA), np.uint8))
    return levels


def read_photos(folders: Iterable[Path], *, longest_px: int, shortest_px: int) -> Photos:
    """All photos of the folders, sorted, none longer than `longest_px`.

    Photos whose shorter side is then below `shortest_px` are left out. A folder that
    holds `mapping.txt` is a scene: only its mapping photos are taken, never its queries.
    """
    images = []
    for folder in folders:
        for path in _paths(folder):
            try:
                photo = load_photo(path)
            except SourceError:
                continue
            image = np.rot90(photo.image, photo.upright_turns)
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
        return [folder / "images" / name for name in names_in_list(listed, folder / "images")]
    found = folder / "images" if (folder / "images").is_dir() else folder
    return [found / name for name in list_folder(found, deep=True).photos]
