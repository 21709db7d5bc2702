"""Poses of a scene's queries by regression of scene coordinates without a partition, as ACE.

    python tests/benchmarks/peers/ace_style.py --scene out/herz_jesus/data \
        --map out/herz_jesus/map --work out/herz_jesus/peers \
        --output out/herz_jesus/poses/ace_style.jsonl

Our encoder, sampler, trainer and solver, and a head that ACE's paper describes (Brachmann et al.,
CVPR 2023): one place for the whole scene instead of labelled parts of it, no semantic labels, no
fusion, no score. It trains on a copy of our map, so that ours stays as it is. `compare.py` calls
it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[3]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from edge_reloc.command_line.program import KNOWN_ERROR, OK
from edge_reloc.files import write_atomic
from edge_reloc.methods.table import SCENE_COORDINATES
from edge_reloc_export.benchmark import localize
from edge_reloc_export.interruption import long_program
from edge_reloc_export.work_folder import existing_work_folder

if TYPE_CHECKING:
    from edge_reloc_export.training.scene_coordinates.presets import SceneConfig

NAME = "ace_style"
TRAINED = "trained.json"


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Train if that was not done, localise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", type=Path, required=True, help="prepared folder of a data set")
    parser.add_argument("--map", type=Path, required=True, help="ours; it is copied")
    parser.add_argument("--work", type=Path, required=True, help="folder for the copy")
    parser.add_argument("--preset", default="quick", help="length of the training")
    parser.add_argument("--iterations", type=int, help="another length")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="each n-th query")
    parser.add_argument("--output", type=Path, required=True, help="poses.jsonl")
    options = parser.parse_args(argv)
    bundle = options.work / NAME / "map"
    told = options.work / NAME / TRAINED
    of_map = {
        "manifest": (options.map / "manifest.json").read_text(),
        "preset": options.preset,
        "iterations": options.iterations,
    }
    if not told.is_file() or json.loads(told.read_text())["of"] != of_map:
        seconds = _train(options, bundle)
        write_atomic(told, json.dumps({"of": of_map, "training_s": seconds}) + "\n")
        sys.stdout.flush()  # and begin anew: what training took is not the peer's memory
        os.execv(sys.executable, [sys.executable, __file__, *(argv or sys.argv[1:])])
    arguments = ["--map", bundle, "--scene", options.scene, "--method", SCENE_COORDINATES.name]
    arguments += ["--threads", options.threads, "--every", options.every]
    code = localize.main([str(word) for word in [*arguments, "--output", options.output]])
    if code != OK:
        return KNOWN_ERROR
    measured = options.output.with_suffix(".facts.json")
    facts = json.loads(measured.read_text())
    facts["training_s"] = json.loads(told.read_text())["training_s"]
    write_atomic(measured, json.dumps(facts) + "\n")
    return OK


def without_partition(config: SceneConfig) -> SceneConfig:
    """One structural and one semantic label, no fusion of them, no score."""
    return replace(
        config,
        labels=replace(config.labels, structural=1, semantic=1),
        loss=replace(config.loss, score=False),
        shape=replace(config.shape, fusion=False),
    )


def _train(options: argparse.Namespace, bundle: Path) -> float:
    """Seconds that it took, sampling included."""
    # Here, so that localising alone does not hold PyTorch.
    from edge_reloc_export.training.scene_coordinates.presets import preset
    from edge_reloc_export.training.scene_coordinates.session import (
        CELLS_FOLDER,
        EncoderChoice,
        SceneSession,
    )

    config = without_partition(preset(options.preset, iterations=options.iterations))
    work = bundle.with_name(f"{bundle.name}.work")
    leave_out = shutil.ignore_patterns(CELLS_FOLDER, "*.pt", "*.png")
    for source, target in (
        (options.map, bundle),
        (existing_work_folder(options.map, None), work),
    ):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=leave_out)
    started = time.monotonic()
    session = SceneSession(bundle, work, EncoderChoice(salient=config.salient))
    session.train(config, depth_maps=None, validate=False, any_grade=True)
    return round(time.monotonic() - started, 1)


if __name__ == "__main__":
    sys.exit(main())
