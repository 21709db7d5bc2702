"""One training of a map: bank, heads, tuning on held-out photos, packing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pykdtree.kdtree import KDTree

from edge_reloc.arrays import F64
from edge_reloc.bundle import extend_bundle, open_bundle
from edge_reloc.bundle.layout import network_file
from edge_reloc.bundle.points import open_points
from edge_reloc.embedding.place import open_embedding
from edge_reloc.errors import MappingError

from ...nets.visible_structure import CellsHead, ConditionalVae, FoldedDecoder
from ...onnx.export import export_module
from ...packing.networks import add_network, forget_float16
from ...packing.pack import PACKED_MODEL
from ...scene.combine import open_any_store
from ...scene.model import load_model
from ..report import plot_training
from .bank import held_out_views, make_bank
from .cells import CellsConfig, cell_shares, predict_shares, train_cells
from .generative import GenerativeTrainer, Normalisation, fixed_noise, preset
from .tuning import Curve, cells_curve, distance_curve

Progress = Callable[[int, int, float], None]

PARTS = 24  # random parts of each photo in the bank
TUNING_SHARE = 0.4  # length of the training that chooses the radius
VOXEL_SHARE = 0.5  # voxel over search radius


class TrainingSession:
    """Everything about one map that training needs, made once."""

    def __init__(self, bundle_dir: Path, work: Path) -> None:
        self.bundle_dir, self.work = bundle_dir, work
        bundle = open_bundle(bundle_dir)
        self.points = open_points(bundle)
        self.model = load_model(work / PACKED_MODEL)
        if len(self.model.xyz) != self.points.n:
            raise MappingError(
                f"{work}: holds {len(self.model.xyz)} points, the bundle {bundle_dir} has "
                f"{self.points.n}; they are not of the same mapping run, map again"
            )
        self.bank = make_bank(self.model, open_any_store(work), open_embedding(bundle), parts=PARTS)
        self.held_out = held_out_views(len(self.model.views))
        entries = np.arange(len(self.bank.view))
        held_out_entry = self.held_out[self.bank.view]
        self.train_rows = entries[~held_out_entry]
        self.all_rows = entries
        self.tune_rows = entries[held_out_entry & self.bank.whole]
        self.tune_seen = [self.bank.seen(entry) for entry in self.tune_rows]
        self.heads: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, Path] = {}

    def train_cells(self, progress: Progress) -> dict[str, Any]:
        """Tune on held-out photos, then train again on all."""
        started = time.perf_counter()
        config = CellsConfig()
        share = cell_shares(self.bank, self.points.cell_start)
        losses: list[tuple[int, float]] = []

        def report(step: int, loss: float) -> None:
            losses.append((step, loss))
            progress(min(step + 1, config.steps), 2 * config.steps, loss)

        head = train_cells(self.bank, share, self.train_rows, config, report)
        curve = cells_curve(
            predict_shares(head, self.bank.embedding[self.tune_rows]),
            self.tune_seen,
            self.points.cell_start,
        )
        head = train_cells(
            self.bank,
            share,
            self.all_rows,
            config,
            lambda step, loss: progress(
                config.steps + min(step + 1, config.steps), 2 * config.steps, loss
            ),
        )
        self._export_cells(head)
        self.heads["cells"] = {
            "network": network_file("cells"),
            "candidates": curve.candidates(self.points.n),
        }
        return self._result("cells", curve, losses, started)

    def train_generative(
        self,
        preset_name: str,
        *,
        iterations: int | None,
        device: str,
        samples: int,
        progress: Progress,
    ) -> dict[str, Any]:
        """Choose the radius on held-out photos, then train on all.

        The radius comes from a training of 40 % of the length without those
        photos.
        """
        started = time.perf_counter()
        config = preset(preset_name, iterations=iterations)
        short = preset(preset_name, iterations=int(config.iterations * TUNING_SHARE))
        total = short.iterations + config.iterations
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        decoders, trainers = [], []
        for role, schedule, rows in (
            ("tuning", short, self.train_rows),
            ("final", config, self.all_rows),
        ):
            checkpoint = self.work / f"generative_{config.name}_{role}.pt"
            trainer = GenerativeTrainer(
                self.bank, self.model.xyz, rows, schedule, checkpoint, device
            )
            before = 0 if role == "tuning" else short.iterations
            vae = trainer.run(
                lambda step, loss, before=before: progress(before + step, total, loss)
            ).cpu()
            decoders.append(folded(vae, trainer.normalisation, samples))
            trainers.append(trainer)
        curve, radius_at = self._radius_curve(decoders[0])
        candidates = curve.candidates(self.points.n)
        radius = float(np.interp(candidates / self.points.n, curve.share, radius_at))
        decoder = decoders[1]
        path = self.work / "generative.onnx"
        export_module(
            decoder,
            [torch.zeros(1, self.bank.embedding.shape[1])],
            ["embedding"],
            ["points"],
            path,
        )
        self.networks[network_file("generative")] = path
        self.heads["generative"] = {
            "network": network_file("generative"),
            "candidates": min(int(1.5 * candidates), self.points.n),
            "radius": radius,
            "voxel": radius * VOXEL_SHARE,
            "samples": samples,
            "preset": config.name,
            "iterations": config.iterations,
        }
        return self._result("generative", curve, trainers[1].history, started)

    def _radius_curve(self, decoder: FoldedDecoder) -> tuple[Curve, F64]:
        """Recall on the held-out photos, and the radius at each share."""
        xyz = self.model.xyz
        distances = []
        with torch.no_grad():
            for entry in self.tune_rows:
                generated = decoder(torch.from_numpy(self.bank.embedding[entry][None])).numpy()
                tree = KDTree(np.ascontiguousarray(generated))
                distances.append(tree.query(np.asarray(self.points.xyz), k=1)[0])
        low, high = np.percentile(xyz, [2, 98], axis=0)
        extent = float(np.linalg.norm(high - low))
        return distance_curve(distances, self.tune_seen, np.geomspace(extent * 1e-3, extent, 80))

    def write(self, *, default_head: str | None = None) -> None:
        """Put the trained heads into the bundle, beside those it has."""
        with extend_bundle(self.bundle_dir) as bundle:
            values = bundle.manifest.methods.get("visible_structure", {})
            heads = {**values.get("heads", {}), **self.heads}
            head = default_head or ("cells" if "cells" in heads else "generative")
            bundle.manifest.methods["visible_structure"] = {
                "head": head,
                "second_pass": values.get("second_pass", True),
                "heads": heads,
            }
            bundle.manifest.method = "visible_structure"
            for name, path in self.networks.items():
                add_network(bundle, name, path.read_bytes())
                forget_float16(bundle, name)

    def _export_cells(self, head: CellsHead) -> None:
        path = self.work / "cells.onnx"
        example = torch.zeros(1, self.bank.embedding.shape[1])
        export_module(head, [example], ["embedding"], ["share"], path)
        self.networks[network_file("cells")] = path

    def _result(
        self, head: str, curve: Curve, losses: list[tuple[int, float]], started: float
    ) -> dict[str, Any]:
        plot_training(self.work / f"training_{head}.png", head, losses, curve)
        return {
            "seconds": time.perf_counter() - started,
            "share": curve.share.tolist(),
            "recall": curve.recall.tolist(),
            "candidates": self.heads[head]["candidates"],
            "losses": losses,
        }


def folded(vae: ConditionalVae, normalisation: Normalisation, samples: int) -> FoldedDecoder:
    """The decoder with its fixed noise, ready for export."""
    noise = fixed_noise(samples, vae.latent)
    return FoldedDecoder(vae, noise, normalisation.scale, normalisation.offset).eval()
