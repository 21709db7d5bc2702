"""Scene coordinates: every cell of an image says where in the world it lies, and how surely.

SS-DVR (Nie, Cai, Geng, Zhou, IJCAI 2025), section 3. N cells, C features, L structural and
M semantic labels, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .exact import ExactLinear

CELL_PX = 8
SHARPNESS = 2.0  # of the heat whose centre is a cell's place: 1 lets two corners pull it between
LEAST_DIVISOR = 0.01  # of the homogeneous coordinate: nothing lies further than 100 scales off
# Of a float16 network: spots in pixels, reading there, and world coordinates. The two
# layers before these matter most of the rest: poses move half as far with them in float32.
FLOAT32_LAYERS = ("encoder.places*", "network/*", "head.leave*", "head.place*")
LOG_SCORE = 8.0  # largest ŝ


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """Of the regression head."""

    width: int = 256  #: of the regression
    classifier_width: int = 128  #: of classifiers and embeddings
    blocks: int = 2  #: residual ones, of three layers each
    fusion: bool = True  #: labels change the features, by adding and linear modulation


SHAPES = {
    "small": HeadShape(),
    "paper": HeadShape(width=512, classifier_width=512, blocks=2),
}


class Spots(NamedTuple):
    """Of n cells, row by row."""

    xy_px: Tensor  #: (n,2): what each cell speaks for
    heat: Tensor  #: (n,): the logit of a keypoint there
    maps: Tensor  #: (C,h,w): what the network sees, to be read at some of the spots

    def features(self, rows: Tensor) -> Tensor:
        """(N,C+1) of some cells: the maps at their spots, bilinear, and the heat."""
        channels, height, width = self.maps.shape
        cell = (torch.index_select(self.xy_px, 0, rows) - (CELL_PX - 1) / 2) / CELL_PX
        start = torch.floor(cell)
        near = torch.stack([1 - (cell - start), cell - start])  # (2 taps, N, x and y)
        table = self.maps.reshape(channels, height * width).t()
        total = torch.zeros(())
        for down in range(2):
            for right in range(2):
                column = (start[:, 0] + right).clamp(0, width - 1)
                row = (start[:, 1] + down).clamp(0, height - 1)
                there = torch.index_select(table, 0, (row * width + column).to(torch.int32))
                total = total + there * (near[right, :, 0] * near[down, :, 1])[:, None]
        heat = torch.index_select(self.heat, 0, rows)
        return torch.cat([total, heat[:, None]], dim=1)


class _Places(nn.Module):
    """The most salient spot of each cell: the centre of its own heat."""

    offsets: Tensor

    def __init__(self) -> None:
        super().__init__()
        steps = torch.arange(CELL_PX, dtype=torch.float32) - (CELL_PX - 1) / 2
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        self.register_buffer("offsets", torch.stack([x.flatten(), y.flatten()]), persistent=False)

    def forward(self, logits_11HW: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """xy_px (n,2) and heat (n,) of the first rows and columns of cells."""
        heat = F.pixel_unshuffle(logits_11HW, CELL_PX)[0, :, :rows, :columns].flatten(1)
        offset = self.offsets @ (SHARPNESS * heat).softmax(dim=0)
        middle = [
            CELL_PX * torch.arange(n, dtype=torch.float32, device=heat.device) + (CELL_PX - 1) / 2
            for n in (rows, columns)
        ]
        y, x = torch.meshgrid(*middle, indexing="ij")
        xy = (torch.stack([x.flatten(), y.flatten()]) + offset).t()
        return xy, heat.amax(dim=0)


class DenseEncoder(nn.Module):
    """A frozen feature network, asked in cells of 8 x 8 pixels.

    A cell speaks for its most salient spot: other photos find the same spot again, which
    they do not find the middle of a cell. Where nothing stands out, that is close to the
    middle.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.places = network, _Places()

    def forward(self, image_11HW: Tensor) -> Spots:
        """The cells that lie whole in the image."""
        maps = self.network.cells(image_11HW)
        rows, columns = image_11HW.shape[-2] // CELL_PX, image_11HW.shape[-1] // CELL_PX
        xy, heat = self.places(maps.logits, rows, columns)
        return Spots(xy, heat, maps.feature[0])


class Prediction(NamedTuple):
    """Of N cells."""

    structural: Tensor  #: (N,L) logits
    semantic: Tensor  #: (N,M) logits
    xyz_world: Tensor  #: (N,3)
    score: Tensor  #: (N,), 1 or more (eq. 10)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(m for _ in range(3) for m in (nn.Linear(width, width), nn.ReLU()))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class _Fusion(nn.Module):
    """Label embeddings modulate the features and are added to them (eq. 9)."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(labels, width, bias=False)
        self.modulation = nn.Sequential(
            nn.Linear(labels, width), nn.ReLU(), nn.Linear(width, 2 * width)
        )

    def forward(self, feature: Tensor, label: Tensor) -> Tensor:
        gain, shift = self.modulation(label).chunk(2, dim=-1)
        fused: Tensor = feature * (1 + gain) + shift + self.embedding(label)
        return fused


class _Placement(nn.Module):
    """Homogeneous coordinates about the centre of the likeliest structural label.

    Stays float32 in float16 networks and under autocast: the centre may be far from the
    world's origin.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, width: int, centre_L3: Tensor, scale_L: Tensor) -> None:
        super().__init__()
        self.out = ExactLinear(width, 5)
        nn.init.zeros_(self.out.weight)
        self.register_buffer("centre", centre_L3)
        self.register_buffer("scale", scale_L)

    def forward(self, feature: Tensor, structural: Tensor) -> tuple[Tensor, Tensor]:
        """xyz_world (N,3) and score (N,)."""
        x, y, z, divisor, score = self.out(feature).unbind(dim=-1)
        # 1 for 0: at first every cell lies in its label's centre.
        divisor = F.softplus(divisor + 0.5413) + LEAST_DIVISOR
        label = structural.argmax(dim=-1)
        scale = torch.index_select(self.scale, 0, label)
        near = torch.stack([x, y, z], dim=-1) * (scale / divisor)[:, None]
        return torch.index_select(self.centre, 0, label) + near, 1 + torch.exp(
            score.clamp(-LOG_SCORE, LOG_SCORE)
        )


class SceneCoordinates(nn.Module):
    """Label classifier, fusion, regression (section 3.2).

    mean, spread (C,): of the features. centre (L,3): of the structural labels, world
    units; scale (L,): usual distance from each. M semantic labels, 1 for none.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        mean: Tensor,
        spread: Tensor,
        centre_L3: Tensor,
        scale_L: Tensor,
        semantic: int,
        shape: HeadShape,
    ) -> None:
        super().__init__()
        self.shape, self.labels = shape, (len(centre_L3), semantic)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        features, narrow, width = len(mean), shape.classifier_width, shape.width
        sizes = [features, *[narrow] * 5]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.classifier = nn.Sequential(*layers, nn.Linear(narrow, sum(self.labels)))
        self.enter = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.fusion = _Fusion(sum(self.labels), width) if shape.fusion else None
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(shape.blocks)))
        self.leave = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.place = _Placement(width, centre_L3, scale_L)

    def forward(self, feature_NC: Tensor) -> Prediction:
        """Of features as the encoder leaves them."""
        x = (feature_NC - self.mean) / self.spread
        structural, semantic = self.classifier(x).split(self.labels, dim=-1)
        feature = self.enter(x)
        if self.fusion is not None:
            # Probabilities instead of one label: what is unsure is told so.
            label = torch.cat([structural.softmax(-1), semantic.softmax(-1)], dim=-1)
            feature = F.relu(self.fusion(feature, label))
        feature = self.leave(self.blocks(feature))
        xyz_world, score = self.place(feature.float(), structural)
        return Prediction(structural, semantic, xyz_world, score)


class ExportedSceneCoordinates(nn.Module):
    """`image` (1,1,H,W) grey, 0 to 255 -> `xy_px` (K,2), `scores` (K,), `xyz_world` (K,3).

    asked: how many cells, the most salient, are regressed. keep: K, how many of these, those
    with the highest scores, are answered, best first.
    """

    def __init__(
        self, encoder: DenseEncoder, head: SceneCoordinates, *, asked: int, keep: int
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.asked, self.keep = encoder, head, asked, keep

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """2D-3D correspondences of one image."""
        spots = self.encoder(image)
        _, rows = torch.topk(spots.heat, self.asked, sorted=False)
        found = self.head(spots.features(rows))
        scores, best = torch.topk(found.score, self.keep, sorted=True)
        xy = torch.index_select(spots.xy_px, 0, torch.index_select(rows, 0, best))
        return xy, scores, torch.index_select(found.xyz_world, 0, best)
