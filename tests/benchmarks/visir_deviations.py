"""What each deviation of `quick` from the published ViSiR is worth, one at a time.

    python tests/benchmarks/visir_deviations.py --map MAP --iterations 2000

Every row is `quick` with one thing as published, trained without the held-out photos: the share
of what these see that is found when 10, 20 and 30 % of the map are returned, and the processor
time of an iteration. The second row is `quick` with another seed: differences as small as that
are chance. MAP needs its work folder, MAP.work; the map itself stays as it is.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_reloc_export.training.visible_structure.generative import (
    GenerativeConfig,
    GenerativeTrainer,
    preset,
)
from edge_reloc_export.training.visible_structure.session import VisibleStructureSession, folded
from edge_reloc_export.work_folder import work_folder

SAMPLES = 1000
SHARES = (0.1, 0.2, 0.3)


def variants(iterations: int) -> dict[str, GenerativeConfig]:
    """By what is as published."""
    quick, paper = preset("quick", iterations=iterations), preset("paper", iterations=iterations)
    return {
        "quick": quick,
        "quick, another seed": replace(quick, seed=1),
        "whole photos only": replace(quick, whole_photos=True),
        "points drawn alike": replace(quick, sparseness=0.0),
        "unit cube": replace(quick, unit_cube=True),
        "512 wide": replace(quick, width=paper.width),
        "noise as large as the spread": replace(quick, noise=1.0),
        "Adam up to 0.001, nothing cut": replace(
            quick, learning_rate=paper.learning_rate, weight_decay=0.0, largest_gradient=math.inf
        ),
        # 8 samples of 50: an iteration of a few seconds instead of a quarter of a minute
        "ELBO with KL cycles, 8 samples": replace(
            quick,
            objective="elbo",
            points=paper.points,
            samples=8,
            kl_start=paper.kl_start,
            kl_period=paper.kl_period,
        ),
    }


def main() -> None:
    """Print a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", help="beginnings of names of rows")
    options = parser.parse_args()
    session = VisibleStructureSession(options.map, work_folder(options.map), options.device)
    print(f"{len(session.tune_rows)} held-out photos, {options.iterations} iterations")
    print("| as published | 10 % | 20 % | 30 % | an iteration |\n|---|---|---|---|---|")
    for name, config in variants(options.iterations).items():
        if options.only is None or name.startswith(tuple(options.only)):
            print(f"| {name} | {row(session, config)} |", flush=True)


def row(session: VisibleStructureSession, config: GenerativeConfig) -> str:
    """Recall on held-out photos, and what an iteration took."""
    rows = session.train_rows
    if config.whole_photos:
        rows = rows[session.bank.whole[rows]]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "vae.pt"
        trainer = GenerativeTrainer(
            session.bank, session.model.xyz, rows, config, checkpoint, session.device
        )
        began = time.process_time()
        vae = trainer.run(lambda step, loss: None).cpu()
        seconds = (time.process_time() - began) / config.iterations
    curve, _ = session.radius_curve(folded(vae, trainer.normalisation, SAMPLES))
    recall = np.interp(SHARES, curve.share, curve.recall)
    return " | ".join([*(f"{100 * r:.1f} %" for r in recall), f"{seconds:.2f} s"])


if __name__ == "__main__":
    main()
