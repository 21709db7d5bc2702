"""How long one published iteration of the landmark recogniser takes, and so a whole run.

    python tests/benchmarks/landmark_iteration.py --photos 4

Times a part of the paper's 32 photos, with 2,048 keypoints each, in processor seconds of one
thread: the work grows with the photos, the memory too.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edge_reloc_export.training.landmarks.labelled import LabelledKeypoints
from edge_reloc_export.training.landmarks.session import with_keypoints
from edge_reloc_export.training.landmarks.trainer import Batches, RecogniserTrainer, preset

KEYPOINTS, DIM, LANDMARKS = 2048, 64, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=4)
    photos = parser.parse_args().photos
    torch.set_num_threads(1)
    paper = preset("paper")
    config = replace(with_keypoints(paper, KEYPOINTS), photos=photos)
    with tempfile.TemporaryDirectory() as folder:
        batches = Batches(made_up(photos), np.arange(photos), config, any_heading=False)
        trainer = RecogniserTrainer(batches, DIM, LANDMARKS, config, Path(folder) / "paper.pt")
        trainer.network.train()
        for _ in range(2):  # the first warms up
            started = time.process_time()
            trainer._gradients()
            trainer._step()
            seconds = time.process_time() - started
    whole = seconds * paper.photos / photos
    days = whole * paper.iterations / 86400
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{photos} photos: {seconds:.1f} s of one core, {gigabytes:.1f} GB at most; an iteration "
        f"of {paper.photos}: {whole:.0f} s, {paper.iterations} of them: {days:.0f} days"
    )


def made_up(photos: int) -> LabelledKeypoints:
    """Keypoints of any kind: the time does not depend on what they show."""
    generator = np.random.default_rng(0)
    rows = photos * KEYPOINTS
    descriptor = generator.normal(size=(rows, DIM))
    descriptor /= np.linalg.norm(descriptor, axis=1, keepdims=True)
    return LabelledKeypoints(
        start=np.arange(photos + 1) * KEYPOINTS,
        ray=generator.normal(size=(rows, 2)).astype(np.float32),
        descriptor=descriptor.astype(np.float16),
        label=generator.integers(0, LANDMARKS + 1, rows).astype(np.int32),
        view=np.arange(photos),
        whole=np.ones(photos, bool),
    )


if __name__ == "__main__":
    main()
