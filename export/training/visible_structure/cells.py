"""Train the `cells` head: visible share of each cell from an embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_reloc.arrays import F32, I32, I64

from ...nets.visible_structure import CellsHead
from .bank import Bank


@dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """Shape and schedule of the head."""

    steps: int = 2000  #: of the optimiser
    batch: int = 64  #: entries
    learning_rate: float = 2e-3  #: largest of the cycle
    noise: float = 0.5  #: added to the embeddings, relative to their own spread
    widths: tuple[int, ...] = (256, 256)  #: of the hidden layers
    seed: int = 0  #: of weights and draws


def cell_shares(bank: Bank, cell_start: I32) -> F32:
    """(B,K): which share of each cell's points an entry saw."""
    sizes = np.diff(cell_start)
    cell_of_point = np.repeat(np.arange(len(sizes)), sizes)
    entry = np.repeat(np.arange(len(bank.view)), np.diff(bank.start))
    flat = entry * len(sizes) + cell_of_point[bank.point_id]
    counts = np.bincount(flat, minlength=len(bank.view) * len(sizes))
    shares = counts.reshape(len(bank.view), -1) / np.maximum(sizes, 1)  # a cell may be empty
    return np.asarray(shares, np.float32)


def train_cells(
    bank: Bank,
    share: F32,
    rows: I64,
    config: CellsConfig,
    report: Callable[[int, float], None],
) -> CellsHead:
    """Train on the bank's `rows`; report(step, loss) is called on the way."""
    torch.manual_seed(config.seed)
    embedding = torch.from_numpy(bank.embedding[rows])
    target = torch.from_numpy(share[rows])
    head = CellsHead(embedding.shape[1], target.shape[1], config.widths)
    with torch.no_grad():  # start from the average visibility of each cell
        mean = target.mean(dim=0).clamp(1e-4, 1 - 1e-4)
        last = head.layers[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(torch.logit(mean))
    spread = embedding.std(dim=0) * config.noise
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps
    )
    for step in range(config.steps):
        pick = torch.randint(len(rows), (config.batch,))
        noisy = embedding[pick] + torch.randn(config.batch, embedding.shape[1]) * spread
        if bank.unit:  # as queries are
            noisy = F.normalize(noisy, dim=1)
        loss = F.binary_cross_entropy_with_logits(head.layers(noisy), target[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == config.steps - 1:
            report(step, loss.item())
    return head.eval()


def predict_shares(head: CellsHead, embedding: F32) -> F32:
    """(B,K) predictions."""
    with torch.no_grad():
        share: Tensor = head(torch.from_numpy(embedding))
        return share.numpy()
