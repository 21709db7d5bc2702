"""Scene coordinates: every cell of an image says where in the world it lies, and how surely.

SS-DVR (Nie, Cai, Geng, Zhou, IJCAI 2025), section 3. N cells, C features, L structural and
M semantic labels, P centres of each structural label (1, or M), W width.
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
    likeliest: bool = False  #: the fusion is told the likeliest labels, not all probabilities


SHAPES = {
    "small": HeadShape(),
    # Six layers of a classifier (4.2), eight of ACE's head, whose width of 512 all have.
    "paper": HeadShape(width=512, classifier_width=512, blocks=2, likeliest=True),
}


class Spots(NamedTuple):
    """Of n cells, row by row."""

    xy_px: Tensor  #: (n,2): what each cell speaks for
    heat: Tensor | None  #: (n,): the logit of a keypoint there; None where it is not asked
    maps: Tensor  #: (C,h,w): what the network sees, to be read at some of the spots

    def features(self, rows: Tensor) -> Tensor:
        """(N,C+1) of some cells: the maps at their spots, bilinear, and the heat if any."""
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
        if self.heat is None:
            return total
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
        return _middles(rows, columns, heat.device) + offset.t(), heat.amax(dim=0)


def _middles(rows: int, columns: int, device: torch.device) -> Tensor:
    """xy_px (n,2) of the middles of cells, row by row."""
    middle = [
        CELL_PX * torch.arange(n, dtype=torch.float32, device=device) + (CELL_PX - 1) / 2
        for n in (rows, columns)
    ]
    y, x = torch.meshgrid(*middle, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()]).t()


class DenseEncoder(nn.Module):
    """A frozen feature network, asked in cells of 8 x 8 pixels.

    A cell speaks for its most salient spot: other photos find the same spot again, which
    they do not find the middle of a cell. Where nothing stands out, that is close to the
    middle. salient False: for its middle, and its heat is no feature, as in the paper.
    """

    def __init__(self, network: Any, *, salient: bool = True) -> None:
        super().__init__()
        self.network, self.salient = network, salient
        self.places = _Places() if salient else None

    def extra_repr(self) -> str:
        """What makes it another encoder."""
        return "" if self.salient else "middles"

    def forward(self, image_11HW: Tensor) -> Spots:
        """The cells that lie whole in the image."""
        maps = self.network.cells(image_11HW)
        rows, columns = image_11HW.shape[-2] // CELL_PX, image_11HW.shape[-1] // CELL_PX
        if self.places is None:
            return Spots(_middles(rows, columns, maps.feature.device), None, maps.feature[0])
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
    """Homogeneous coordinates about the centre of the likeliest label, or pair of labels.

    Stays float32 in float16 networks and under autocast: the centre may be far from the
    world's origin.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, width: int, centre_LP3: Tensor, scale_LP: Tensor) -> None:
        super().__init__()
        self.out = ExactLinear(width, 5)
        nn.init.zeros_(self.out.weight)
        self.per_label = centre_LP3.shape[1]
        self.register_buffer("centre", centre_LP3.flatten(0, 1))
        self.register_buffer("scale", scale_LP.flatten())

    def forward(
        self, feature: Tensor, structural: Tensor, semantic: Tensor
    ) -> tuple[Tensor, Tensor]:
        """xyz_world (N,3) and score (N,)."""
        x, y, z, divisor, score = self.out(feature).unbind(dim=-1)
        # 1 for 0: at first every cell lies in its label's centre.
        divisor = F.softplus(divisor + 0.5413) + LEAST_DIVISOR
        label = structural.argmax(dim=-1)
        if self.per_label > 1:
            label = label * self.per_label + semantic.argmax(dim=-1)
        scale = torch.index_select(self.scale, 0, label)
        near = torch.stack([x, y, z], dim=-1) * (scale / divisor)[:, None]
        return torch.index_select(self.centre, 0, label) + near, 1 + torch.exp(
            score.clamp(-LOG_SCORE, LOG_SCORE)
        )


class SceneCoordinates(nn.Module):
    """Label classifier, fusion, regression (section 3.2).

    mean, spread (C,): of the features. centre (L,P,3): of the structural labels, or of
    each with each semantic one, world units; scale (L,P): unit of what is regressed. M
    semantic labels, 1 for none.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        mean: Tensor,
        spread: Tensor,
        centre_LP3: Tensor,
        scale_LP: Tensor,
        semantic: int,
        shape: HeadShape,
    ) -> None:
        super().__init__()
        self.shape, self.labels = shape, (len(centre_LP3), semantic)
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
        self.place = _Placement(width, centre_LP3, scale_LP)

    def forward(self, feature_NC: Tensor) -> Prediction:
        """Of features as the encoder leaves them."""
        x = (feature_NC - self.mean) / self.spread
        structural, semantic = self.classifier(x).split(self.labels, dim=-1)
        feature = self.enter(x)
        if self.fusion is not None:
            told = _likeliest if self.shape.likeliest else _probabilities
            label = torch.cat([told(structural), told(semantic)], dim=-1)
            feature = F.relu(self.fusion(feature, label))
        feature = self.leave(self.blocks(feature))
        xyz_world, score = self.place(feature.float(), structural, semantic)
        return Prediction(structural, semantic, xyz_world, score)


def _probabilities(logits: Tensor) -> Tensor:
    """What is unsure is told so."""
    return logits.softmax(dim=-1)


def _likeliest(logits: Tensor) -> Tensor:
    """One-hot; no gradient reaches the classifier through it."""
    each = torch.eye(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return torch.index_select(each, 0, logits.argmax(dim=-1))


class ExportedSceneCoordinates(nn.Module):
    """`image` (1,1,H,W) grey, 0 to 255 -> `xy_px` (K,2), `scores` (K,), `xyz_world` (K,3).

    asked: how many cells, the most salient, are regressed; all of an encoder that does not
    tell how salient they are. keep: K, how many of these, those
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
        if spots.heat is None:
            rows = torch.arange(len(spots.xy_px), device=image.device)
        else:
            _, rows = torch.topk(spots.heat, self.asked, sorted=False)
        found = self.head(spots.features(rows))
        scores, best = torch.topk(found.score, self.keep, sorted=True)
        xy = torch.index_select(spots.xy_px, 0, torch.index_select(rows, 0, best))
        return xy, scores, torch.index_select(found.xyz_world, 0, best)
