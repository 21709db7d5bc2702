"""The cells of a photo, as the encoder sees them."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from edge_reloc.arrays import F64, U8
from edge_reloc.features.image_fit import FitOnCpu
from edge_reloc.features.network import turn_back

from ...identity import digest_of
from ...nets.detector import TENSORRT_MAX_KEYPOINTS
from ...nets.scene_coordinates import CELL_PX, DenseEncoder, Spots

SAME_PX = 1.5  # at 640 pixels width: a cell's spot is that of an observation
SAME_MIDDLE_PX = 4.0  # the same of a cell's middle: little is observed closer to one
ASKED = 0.5  # share of the cells, the most salient, that are regressed: as exact, at half the work


class PhotoCells:
    """The cells of photos, through the encoder at one of the sizes that it will run at.

    sizes: (width, height) of the networks that the device will have.
    """

    def __init__(
        self, encoder: DenseEncoder, sizes: list[tuple[int, int]], device: torch.device | str
    ) -> None:
        self._device, self._sizes = torch.device(device), sizes
        # Convolutions of CPUs and GPUs read channels that lie side by side.
        self._encoder = copy.deepcopy(encoder).to(self._device)
        self._encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._salient = encoder.salient
        self.same_px = SAME_PX if encoder.salient else SAME_MIDDLE_PX
        self.identity = digest_of(repr(encoder), dict(encoder.state_dict()), sizes)

    def asked(self, width: int, height: int) -> int:
        """How many cells of a network's input are regressed: half, as far as engines can sort.

        All where they speak for their middles.
        """
        cells = (width // CELL_PX) * (height // CELL_PX)
        return min(round(ASKED * cells), TENSORRT_MAX_KEYPOINTS) if self._salient else cells

    def look(self, image: U8, turns: int) -> Look:
        """The cells of an image as it lies, turned for the encoder. Threads may look at once."""
        height, width = image.shape[:2]
        if turns % 2:
            height, width = width, height
        size = max(self._sizes, key=lambda s: min(s[0] / width, s[1] / height, 1.0))
        net_input = np.zeros((size[1], size[0]), np.float32)
        fit = FitOnCpu(net_input).fit(image, turns)
        with torch.no_grad():
            spots = self._encoder(torch.from_numpy(net_input).to(self._device)[None, None])
        # Features are read cell by cell: channels side by side here, too.
        maps = spots.maps.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        spots = spots._replace(maps=maps)
        found = spots.xy_px.cpu().numpy().astype(np.float64)
        asked = np.arange(len(found))
        if spots.heat is not None:
            asked = np.argsort(-spots.heat.cpu().numpy(), kind="stable")[: self.asked(*size)]
        inside = (found[asked] < [fit.fit_width - 4, fit.fit_height - 4]).all(axis=1)
        rows = asked[inside]
        scale = np.array([fit.width / fit.fit_width, fit.height / fit.fit_height])
        x, y = ((found[rows] + 0.5) * scale - 0.5).T
        xy = np.column_stack(turn_back(x, y, fit.width, fit.height, turns))
        return Look(np.asarray(xy, np.float64), rows, spots, self._device)


class Look:
    """One image: xy_px (N,2) of the cells that are asked, the most salient first."""

    def __init__(
        self, xy_px: F64, rows: NDArray[np.intp], spots: Spots, device: torch.device
    ) -> None:
        self.xy_px = xy_px
        self._rows, self._spots, self._device = rows, spots, device

    def features(self, chosen: NDArray[np.intp] | slice = slice(None)) -> torch.Tensor:
        """(M,C) of some of the cells, where the encoder runs."""
        with torch.no_grad():
            rows = torch.from_numpy(self._rows[chosen]).to(self._device)
            return self._spots.features(rows)
