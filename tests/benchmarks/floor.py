"""How far a frame is from its floor: the bare network and the bare matrix product.

    python tests/benchmarks/floor.py --map maps/kitchen --source FRAMES

The floor is what nobody can do without on this machine: one run of the feature network,
and one product of the frame's descriptors with the candidates' (float32, in the same
threads, candidates already gathered). Everything else counts as ours.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import islice

import numpy as np

from edge_reloc.command_line.arguments import (
    add_budget_arguments,
    add_settings_arguments,
    add_source_arguments,
    session_options,
)
from edge_reloc.inference.onnxruntime import open_engine
from edge_reloc.memory.arena import Arena
from edge_reloc.running.session import Session


def p50_ms(work: Callable[[], object], times: int = 60) -> float:
    """Median duration of a call."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(taken))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_source_arguments(parser)
    add_settings_arguments(parser)
    add_budget_arguments(parser)
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    with Session(session_options(options)) as session:
        localizer = session.localizer
        frames = list(islice(session.source, options.frames))
        for frame in frames[:5]:
            localizer.localize(frame)
        stages: dict[str, list[float]] = {}
        for frame in frames:
            for stage, ms in localizer.localize(frame).estimate.stages_ms.items():
                stages.setdefault(stage, []).append(ms)
        median = {stage: float(np.median(ms)) for stage, ms in stages.items()}
        floor: dict[str, float] = {}
        result = localizer.localize(frames[-1])
        ours, ids = result.features.descriptor.copy(), result.candidates.point_id.copy()
        networks = localizer.bundle.manifest.features.networks
        if networks:
            path = localizer.bundle.path(networks[0].file)
            engine = open_engine(path, Arena(), threads=localizer.settings.threads)
            floor["extract"] = p50_ms(engine.run)
        theirs = np.asarray(localizer.points.descriptor[ids], np.float32).T.copy()
        threads = localizer.workers.count
        parts = np.array_split(np.arange(len(ours)), threads)
        out = np.empty((len(ours), theirs.shape[1]), np.float32)

        def product(part: int) -> None:
            rows = slice(parts[part][0], parts[part][-1] + 1)
            np.matmul(ours[rows], theirs, out=out[rows])

        with localizer.workers.frame():
            floor["match"] = p50_ms(lambda: localizer.workers.each(product, threads))
        print(f"{'ms, p50':<12} {'frame':>8} {'floor':>8}")
        for stage, ms in median.items():
            print(f"{stage:<12} {ms:8.1f} {floor.get(stage, 0.0):8.1f}")
        print(f"{'sum':<12} {sum(median.values()):8.1f} {sum(floor.values()):8.1f}")
        print(f"{len(ours)} keypoints, {len(ids)} candidates, {threads} threads")
    return 0


if __name__ == "__main__":
    sys.exit(main())
