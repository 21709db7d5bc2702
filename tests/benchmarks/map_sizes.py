"""Accuracy against bytes a point: descriptor codecs times pruning, on left-out mapping photos.

    python tests/benchmarks/map_sizes.py --map maps/kitchen --within 0.02 --output kitchen.json

Neighbourhoods of photos are left out as `export/integrity` does; what stays is pruned, its
descriptors go through a codec and back, and the photos are localised against that, with the
second pass. No query of the scene is looked at. A codec is judged by what it gives back, so that
those that no map has yet can be judged, too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edge_reloc.arrays import F32
from edge_reloc.bundle import extend_bundle, layout, open_bundle
from edge_reloc.files import write_atomic
from edge_reloc_export.integrity.leave_out import neighbourhoods, write_without
from edge_reloc_export.integrity.measure import _spread, _tries
from edge_reloc_export.packing.covering_points import points_that_cover
from edge_reloc_export.packing.drop_points import drop_points
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.packing.quantising import quantise, unit
from edge_reloc_export.scene.combine import open_any_store
from edge_reloc_export.scene.model import SceneModel

KEEP = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15)
OTHER_BYTES = 12 + 3 + 4  # of a point: place, direction, uncertainty


def as_float16(rows: F32) -> F32:
    return rows.astype(np.float16).astype(np.float32)


def as_int8(rows: F32) -> F32:
    stored, scale = quantise(rows)
    return stored.astype(np.float32) * np.float32(scale)


def projected(rows: F32, dim: int, *, whole: bool = False) -> F32:
    """Through the `dim` directions that hold most of the map's descriptors, int8 or float16."""
    _, _, axes = np.linalg.svd(rows.T @ rows)
    code = rows @ axes[:dim].T
    if whole:
        scale = np.abs(code).max(axis=0) / 127
        code = np.rint(code / scale) * scale
    return np.asarray(unit(as_float16(code) @ axes[:dim]), np.float32)


def product_quantised(rows: F32, parts: int) -> F32:
    """Each of so many parts is one of 256 words of its own vocabulary (Jegou et al., 2011)."""
    out = np.empty_like(rows)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 12, 1e-4)
    cv2.setRNGSeed(0)
    for part in np.array_split(np.arange(rows.shape[1]), parts):
        own = np.ascontiguousarray(rows[:, part])
        words = min(256, len(own))
        _, label, centre = cv2.kmeans(own, words, None, criteria, 1, cv2.KMEANS_RANDOM_CENTERS)
        out[:, part] = centre[label.ravel()]
    return unit(out)


def codecs(dim: int) -> dict[str, tuple[int, Callable[[F32], F32]]]:
    """Bytes a descriptor, and there and back."""
    half = dim // 2
    return {
        "float16": (2 * dim, as_float16),
        "int8": (dim, as_int8),
        f"pca{half} float16": (2 * half, lambda rows: projected(rows, half)),
        f"pca{half} int8": (half, lambda rows: projected(rows, half, whole=True)),
        f"pq{dim // 4}": (dim // 4, lambda rows: product_quantised(rows, dim // 4)),
        f"pq{dim // 8}": (dim // 8, lambda rows: product_quantised(rows, dim // 8)),
    }


def remaining(model: SceneModel, out: np.ndarray) -> SceneModel:
    """The model of the photos that stay; points keep their numbers."""
    rows = np.setdiff1d(np.arange(len(model.views)), out)
    return replace(model, views=[model.views[n] for n in rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="(default MAP.work)")
    parser.add_argument("--within", type=float, required=True, help="of a right pose, map units")
    parser.add_argument("--share", type=float, default=0.3, help="of the photos left out at once")
    parser.add_argument("--keep", type=float, nargs="+", default=KEEP)
    parser.add_argument("--codecs", nargs="+", help="of them only these")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    bundle = open_bundle(options.map)
    work = options.work or options.map.with_name(options.map.name + ".work")
    model, store = load_packed(work, bundle), open_any_store(work)
    folder = Path(tempfile.mkdtemp())
    rows: list[dict[str, object]] = []
    groups = neighbourhoods(model.views, model.xyz, 3, options.share)
    for group, out in enumerate(groups):
        write_without(model, options.map, out, folder / "rest")
        tried = [model.views[n] for n in _spread(out)]
        rest = open_bundle(folder / "rest")
        worth = _kept_model(model, out, rest.array(layout.XYZ))
        for keep in options.keep:
            with extend_bundle(folder / "rest", folder / "pruned") as writer:
                drop_points(writer, rest, points_that_cover(worth, keep))
            pruned = open_bundle(folder / "pruned")
            stored = pruned.array(layout.DESCRIPTORS).astype(np.float32)
            for name, (nbytes, codec) in codecs(stored.shape[1]).items():
                if options.codecs and name not in options.codecs:
                    continue
                with extend_bundle(folder / "pruned", folder / "coded") as writer:
                    writer.add_array(layout.DESCRIPTORS, codec(stored).astype(np.float16))
                _, refined = _tries(open_bundle(folder / "coded"), tried, model, store)
                right = sum(t.error <= options.within and t.right for t in refined)
                rows.append(
                    {
                        "group": group,
                        "codec": name,
                        "keep": keep,
                        "bytes": keep * (nbytes + OTHER_BYTES),
                        "tries": len(tried),
                        "found": len(refined),
                        "right": right,
                        "errors": [t.error for t in refined],
                    }
                )
        print(f"{options.map.name}: neighbourhood {group + 1} of {len(groups)}", flush=True)
        write_atomic(options.output, json.dumps(rows).encode())
    shutil.rmtree(folder)
    print(table(rows))
    return 0


def _kept_model(model: SceneModel, out: np.ndarray, xyz: F32) -> SceneModel:
    """What `write_without` kept of the model, in the bundle's order."""
    from edge_reloc_export.integrity.leave_out import _seen_again

    stay = remaining(model, out)
    keep, _ = _seen_again(stay)
    kept = stay.keep_points(keep)
    assert len(kept.xyz) == len(xyz)
    return kept


def table(rows: list[dict[str, object]]) -> str:
    """Right poses of all tries, by codec and share kept; bytes a point of the whole map."""
    lines = ["| codec | kept | bytes | found | right | median error |", "|---" * 6 + "|"]
    keys = dict.fromkeys((row["codec"], row["keep"], row["bytes"]) for row in rows)
    for codec, keep, nbytes in keys:
        own = [row for row in rows if (row["codec"], row["keep"]) == (codec, keep)]
        total = sum(row["tries"] for row in own)  # type: ignore[misc]
        found, right = (sum(row[key] for row in own) for key in ("found", "right"))  # type: ignore
        errors = np.concatenate([row["errors"] for row in own])
        lines.append(
            f"| {codec} | {keep:.0%} | {nbytes:.1f} | {found / total:.1%} | {right / total:.1%} "
            f"| {np.median(errors):.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
