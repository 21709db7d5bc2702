"""The `cells` head after an update: its hidden layers stay, rows of changed cells are fitted.

The last layer answers each cell by a row of its own, so that with the layers before it frozen
every cell is a logistic regression apart from the others: those that kept their points keep
their row to the bit.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from edge_reloc.arrays import Bool
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import CELL_START, network_file
from edge_reloc.methods.table import VISIBLE_STRUCTURE
from edge_reloc.methods.visible_structure import CELLS

from ..packing.networks import add_network, forget_float16
from ..scene.combine import PhotoStore
from ..scene.model import SceneModel
from ..training.visible_structure.bank import Bank, make_bank
from ..training.visible_structure.cells import cell_shares
from .last_layer import Layer, read_layers, with_last_layer

log = logging.getLogger(__name__)

PARTS = 12  # random parts of each photo
STEPS, BATCH, LEARNING_RATE = 600, 256, 5e-3
NOISE = 0.5  # added to the embeddings, relative to their own spread, as in training


def refit_cells(bundle: Path, model: SceneModel, store: PhotoStore, changed: Bool) -> bool:
    """Fit the rows of changed cells (K,); whether the map has such a head and it was changed.

    model: with points in the bundle's order.
    """
    opened = open_bundle(bundle)
    trained = VISIBLE_STRUCTURE.trained(opened.manifest)
    if trained is None or CELLS not in trained.heads or not changed.any():
        return False
    file = network_file(CELLS)
    layers = read_layers(opened.path(file))
    bank = make_bank(model, store, opened, parts=PARTS)
    share = cell_shares(bank, opened.array(CELL_START))[:, changed]
    weight, bias = _fit(bank, share, layers, changed)
    last = _with_rows(layers[-1], changed)
    last.weight[changed], last.bias[changed] = weight, bias
    with extend_bundle(bundle) as writer:
        add_network(writer, file, with_last_layer(opened.path(file), last))
        forget_float16(writer, file)
    log.info("head %s: rows of %d of %d cells fitted", CELLS, changed.sum(), len(changed))
    return True


def _with_rows(last: Layer, changed: Bool) -> Layer:
    """The layer with rows for the new cells, which come last."""
    more = len(changed) - len(last.bias)
    weight = np.concatenate([last.weight, np.zeros((more, last.weight.shape[1]), np.float32)])
    return Layer(weight, np.concatenate([last.bias, np.zeros(more, np.float32)]))


def _fit(
    bank: Bank, share: np.ndarray, layers: list[Layer], changed: Bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (C,in) and (C,) that answer the shares (B,C) of the bank's entries."""
    torch.manual_seed(0)
    known = _with_rows(layers[-1], changed)
    target = torch.from_numpy(share.astype(np.float32))
    new = np.flatnonzero(changed) >= len(layers[-1].bias)
    start = known.bias[changed].copy()
    mean = np.clip(share.mean(axis=0), 1e-4, 1 - 1e-4)
    start[new] = np.log(mean / (1 - mean))[new]
    weight = torch.from_numpy(known.weight[changed].copy()).requires_grad_()
    bias = torch.from_numpy(start).requires_grad_()
    hidden = [(torch.tensor(w), torch.tensor(b)) for w, b in layers[:-1]]
    inputs = torch.from_numpy(bank.embedding)
    spread = inputs.std(dim=0) * NOISE
    optimizer = torch.optim.AdamW([weight, bias], lr=LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        pick = torch.randint(len(inputs), (BATCH,))
        with torch.no_grad():
            x = inputs[pick] + torch.randn(BATCH, inputs.shape[1]) * spread
            x = F.normalize(x, dim=1) if bank.unit else x  # as queries are
            for w, b in hidden:
                x = F.leaky_relu(F.linear(x, w, b))
        loss = F.binary_cross_entropy_with_logits(F.linear(x, weight, bias), target[pick])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return weight.detach().numpy(), bias.detach().numpy()
