"""Poses of a scene's queries by matching each with its most similar mapping photos, one by one.

    python tests/benchmarks/peers/localize_pairwise.py --peer aliked_lightglue --photos 10 \
        --scene out/herz_jesus/data --map out/herz_jesus/map --work out/herz_jesus/peers \
        --output out/herz_jesus/poses/aliked_lightglue_10.jsonl

hloc's way (Sarlin et al., CVPR 2019): retrieval, matches photo by photo, points of a model that
was triangulated from the same posed photos, pycolmap's pose at 12 pixels. `compare.py` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    __package__ = "tests.benchmarks.peers"

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import SourceError
from edge_reloc.files import write_atomic
from edge_reloc.memory.process import read_memory
from edge_reloc.reference.colmap import colmap_pixels
from edge_reloc.structs import Status

from .global_descriptors import GlobalDescriptors
from .pair_matchers import PairMatcher, open_matcher
from .pairwise_map import PairwiseMap, is_made, make_map, read_map
from .posed_photos import OpenedPhoto, digest_of, mapping_photos, open_photo, queries

LARGEST_ERROR_PX = 12.0  # hloc's, of an inlier


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Map if that was not done, localise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True)
    parser.add_argument("--photos", type=int, default=10, help="that are retrieved (default 10)")
    parser.add_argument("--scene", type=Path, required=True, help="prepared folder of a data set")
    parser.add_argument("--map", type=Path, required=True, help="ours, for its image embedding")
    parser.add_argument("--work", type=Path, required=True, help="folder for the peer's own map")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="each n-th query")
    parser.add_argument("--output", type=Path, required=True, help="poses.jsonl")
    options = parser.parse_args(argv)
    cv2.setNumThreads(options.threads)
    with threadpool_limits(options.threads):
        matcher = open_matcher(options.peer, options.threads)
        embedder = GlobalDescriptors(options.map, options.threads)
        photos = mapping_photos(options.scene)
        folder = options.work / f"{options.peer}_{digest_of(photos, embedder.identity())}"
        if not is_made(folder):
            images = options.scene / "images"
            make_map(folder, images, photos, matcher, embedder, options.threads)
            sys.stdout.flush()  # and begin anew: what mapping took is not the peer's memory
            os.execv(sys.executable, [sys.executable, __file__, *(argv or sys.argv[1:])])
        return _localise(options, matcher, embedder, read_map(folder))


def _localise(
    options: argparse.Namespace,
    matcher: PairMatcher,
    embedder: GlobalDescriptors,
    built: PairwiseMap,
) -> int:
    asked = queries(options.scene, options.every)
    if not asked:
        raise SourceError(f"{options.scene}: no queries")
    lines = []
    for number, (name, camera) in enumerate(asked):
        photo = open_photo(options.scene / "images" / name, camera)
        if number == 0:
            localize(photo, built, matcher, embedder, 1)  # warms up
        answer = localize(photo, built, matcher, embedder, options.photos)
        lines.append(json.dumps({"frame": number, "name": name, **answer}, allow_nan=False))
        print(name, flush=True)
    networks = sum(path.stat().st_size for path in matcher.networks)
    embedding_networks, embedding = embedder.nbytes()
    networks += embedding_networks
    facts = {
        "peak_bytes": read_memory().peak_bytes,
        "map_bytes": built.nbytes + embedding + networks,
        "network_bytes": networks,
        "mapping_s": built.mapping_s,
    }
    write_atomic(options.output.with_suffix(".facts.json"), json.dumps(facts) + "\n")
    write_atomic(options.output, "".join(f"{line}\n" for line in lines))
    return OK


def localize(
    photo: OpenedPhoto,
    built: PairwiseMap,
    matcher: PairMatcher,
    embedder: GlobalDescriptors,
    count: int,
) -> dict[str, Any]:
    """Status, pose, candidates, inliers and times of one query, as in poses.jsonl."""
    clock = time.perf_counter
    began = clock()
    camera = photo.colmap_camera()
    query = matcher.extract(photo.image_bgr, camera)
    extracted = clock()
    vector = embedder.of(photo.image_bgr, photo.camera, photo.upright_turns)
    near = np.argsort(-(built.embedding @ vector), kind="stable")[:count]
    retrieved = clock()
    found: dict[tuple[int, int], None] = {}  # keypoint and point; each pair once
    for view in near.tolist():
        rows = matcher.match(query, built.features[view])
        points = built.point_id[view][rows[:, 1]]
        shown = points >= 0
        found.update(
            dict.fromkeys(zip(rows[shown, 0].tolist(), points[shown].tolist(), strict=True))
        )
    matched = clock()
    both = np.array(list(found), np.int64).reshape(-1, 2)
    pose = _solve(query.xy_px[both[:, 0]], built.xyz_world[both[:, 1]], camera)
    solved = clock()
    stages = {
        "extract": extracted - began,
        "retrieve": retrieved - extracted,
        "match": matched - retrieved,
        "solve": solved - matched,
    }
    seen = np.concatenate([built.point_id[view] for view in near])
    return {
        "status": Status.OK.value if pose is not None else Status.NO_POSE.value,
        "cam_from_world": None if pose is None else pose.tolist(),
        "covariance": None,
        "candidates": len(np.unique(seen[seen >= 0])),
        "matches": len(both),
        "stages_ms": {stage: round(1000 * seconds, 3) for stage, seconds in stages.items()},
    }


def _solve(
    xy_px: NDArray[np.float32], xyz_world: NDArray[np.float64], camera: Any
) -> NDArray[np.float64] | None:
    """cam_from_world (4,4) or None."""
    answer = pycolmap.estimate_and_refine_absolute_pose(
        colmap_pixels(xy_px).astype(np.float64),
        xyz_world,
        camera,
        {"ransac": {"max_error": LARGEST_ERROR_PX, "random_seed": 0}},
    )
    if answer is None:
        return None
    return np.vstack([answer["cam_from_world"].matrix(), [0.0, 0.0, 0.0, 1.0]])


if __name__ == "__main__":
    sys.exit(main())
