"""A place changes: its map before the update, after it, and made anew.

    python tests/benchmarks/living.py --output out/living       (a quarter of an hour on 2 cores)
    python tests/benchmarks/living.py --output out/eleven --seed 11 --altered 0.3 0.6 0.8

1. render a courtyard and the same one some time later, with exact truth; 2. map the first;
3. update by photos of the second, and apply the delta; 4. map the second anew, from its photos
and from all (no head is trained: `image_retrieval` needs none); 5. localise frames of the second
in all of them, and compare points that were retired with those that are gone. Every share of
surfaces that changed has a folder of its own, e.g. OUTPUT/30; `--again` goes on with what is
there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_reloc.bundle import open_bundle
from edge_reloc.delta.apply import main as apply_main
from edge_reloc.geometry.camera import read_camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.reference.colmap import read_model
from edge_reloc.structs import Status
from edge_reloc_export import map as mapping
from edge_reloc_export import train, update
from edge_reloc_export.packing.packed_model import load_packed
from edge_reloc_export.scene.model import SceneModel
from edge_reloc_export.work_folder import work_folder
from edge_reloc_export.worlds import write
from edge_reloc_export.worlds.courtyard import make_courtyard
from edge_reloc_export.worlds.render import render
from edge_reloc_export.worlds.world import WorldConfig

TEXEL_MM = 6.0
RIGHT_M, RIGHT_DEG = 0.10, 1.0  # of the yard's 12 x 10 m
WRONG_M, WRONG_DEG = 0.25, 2.0  # a pose called OK that is farther off is wrong
PATCH_PX = 16  # half of what a descriptor looks at
CHANGED_LEVELS, CHANGED_M = 8, 0.03  # of grey; of depth
GONE_SHARE, THERE_SHARE = 0.5, 0.05  # of a patch's pixels that changed; between them: neither
METHODS = ("visible_structure", "image_retrieval")
MAPPED = ["--keypoints", "1500", "--min-length", "4", "--metric"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stations", type=int, default=20, help="of the second walk (default 20)")
    parser.add_argument("--seed", type=int, default=7, help="another one, another yard (default 7)")
    parser.add_argument("--altered", type=float, nargs="+", default=[0.3], help="shares (0.3)")
    parser.add_argument("--again", action="store_true", help="keep what is there")
    parser.add_argument("--no-rebuild", action="store_true", help="leave step 4 out")
    options = parser.parse_args(argv)
    out: Path = options.output
    if not options.again:
        shutil.rmtree(out, ignore_errors=True)
    seconds: dict[str, float] = {}
    place, first = out / "place", out / "first"
    _rendered(place, options.seed, "--frames", "4")
    _once(first, seconds, lambda: _mapped(place, first, heads=True))
    report = {
        f"{100 * share:.0f} %": _changed(out, share, options, seconds) for share in options.altered
    }
    report["processor seconds"] = seconds
    print(json.dumps(report, indent=1))
    (out / "report.json").write_text(json.dumps(report, indent=1))
    return 0


def _changed(
    out: Path, share: float, options: argparse.Namespace, seconds: dict[str, float]
) -> dict[str, Any]:
    """One share of the yard changes: the maps of it, and what they are worth."""
    folder = out / f"{100 * share:.0f}"
    later = folder / "place"
    walk = ["--walk", "2", "--frames", "40", "--stations", str(options.stations)]
    _rendered(later, options.seed, "--altered", str(share), *walk)
    maps = {"first": out / "first", **{n: folder / n for n in ("updated", "anew", "all")}}
    _once(maps["updated"], seconds, lambda: _updated(out / "first", folder, later))
    if not options.no_rebuild:
        places = {"first": out / "place", "later": later}
        _once(maps["anew"], seconds, lambda: _mapped(later, maps["anew"]))
        _once(maps["all"], seconds, lambda: _mapped(_both(folder, places), maps["all"]))
    maps = {name: path for name, path in maps.items() if path.is_dir()}
    report: dict[str, Any] = {
        "localised": {
            name: {
                method: _localised(path, later, method)
                for method in METHODS
                if method == "image_retrieval" or (path / "nets" / "cells.onnx").is_file()
            }
            for name, path in maps.items()
        },
        "points": _points(out / "first", folder / "updated", options.seed, share),
        "bytes": {name: open_bundle(path).nbytes() for name, path in maps.items()},
    }
    report["bytes"]["delta"] = (folder / "delta").stat().st_size
    print(json.dumps({str(share): report}), flush=True)
    return report


def _rendered(place: Path, seed: int, *more: str) -> None:
    """The yard, at first or later."""
    if not (place / "queries.txt").is_file():
        render_it = ["--output", str(place), "--texel-mm", str(TEXEL_MM), "--seed", str(seed)]
        assert write.main([*render_it, *more]) == 0


def _mapped(place: Path, output: Path, *, heads: bool = False) -> None:
    photos = ["--images", str(place / "images"), "--list", str(place / "mapping.txt")]
    poses = ["--poses", str(place / "reference")]
    assert mapping.main([*photos, *poses, *MAPPED, "--output", str(output)]) == 0
    if heads:
        assert train.main(["--map", str(output), "--head", "cells"]) == 0


def _updated(first: Path, folder: Path, later: Path) -> None:
    photos = ["--images", str(later / "images"), "--list", str(later / "mapping.txt")]
    maps, delta = ["--map", str(first), "--output", str(folder / "updated")], str(folder / "delta")
    assert update.main([*maps, *photos, "--delta", delta]) == 0
    shutil.rmtree(folder / "applied", ignore_errors=True)
    applied = ["--map", str(first), "--delta", delta, "--output", str(folder / "applied")]
    assert apply_main(applied) == 0
    same = [(folder / name / "manifest.json").read_bytes() for name in ("updated", "applied")]
    assert same[0] == same[1]
    open_bundle(folder / "applied", verify=True)


def _both(folder: Path, places: dict[str, Path]) -> Path:
    """Photos and truth of both walks in one folder."""
    from edge_reloc.reference.colmap import ColmapModel, write_model_text

    both = folder / "place_both"
    (both / "images").mkdir(parents=True, exist_ok=True)
    images, names, cameras = [], [], {}
    for key, place in places.items():
        model = read_model(place / "reference")
        cameras = model.cameras
        listed = set((place / "mapping.txt").read_text().split())
        for image in model.images:
            if image.name in listed:
                name = f"{key}_{image.name}"
                shutil.copy(place / "images" / image.name, both / "images" / name)
                images.append(type(image)(**{**vars(image), "name": name}))
                names.append(name)
    write_model_text(both / "reference", ColmapModel(cameras=cameras, images=images, points={}))
    (both / "mapping.txt").write_text("\n".join(names) + "\n")
    return both


def _localised(bundle: Path, place: Path, method: str) -> dict[str, Any]:
    """Of the frames of the later place: who is right, how exactly, and who is wrong and OK."""
    truth = {i.name: i.cam_from_world for i in read_model(place / "reference").images}
    names = (place / "queries.txt").read_text().split()
    errors, wrong, answered = [], 0, 0
    settings = Settings(method=method, second_pass=True, engine="onnxruntime")
    with Localizer.open(open_bundle(bundle), read_camera(place / "camera.json"), settings) as it:
        for name in names:
            found = it.localize(place / "images" / name).estimate
            if found.status is not Status.OK or found.cam_from_world is None:
                continue
            answered += 1
            error = pose_error(found.cam_from_world, truth[name])
            errors.append((error.translation, error.rotation_deg))
            wrong += error.translation > WRONG_M or error.rotation_deg > WRONG_DEG
    table = np.array(errors).reshape(-1, 2)
    right = (table[:, 0] <= RIGHT_M) & (table[:, 1] <= RIGHT_DEG)
    return {
        "frames": len(names),
        "answered": answered,
        "right": int(right.sum()),
        "wrong": int(wrong),
        "median_cm": round(100 * float(np.median(table[:, 0])), 2) if len(table) else None,
        "median_deg": round(float(np.median(table[:, 1])), 3) if len(table) else None,
    }


def _points(first_map: Path, updated_map: Path, seed: int, altered: float) -> dict[str, Any]:
    """Retired points against those that are gone, kept ones against those that are there."""
    first, updated = open_bundle(first_map), open_bundle(updated_map)
    model = load_packed(work_folder(first_map), first)
    gone = changed_share(model, seed, altered)
    stays = {row.tobytes() for row in np.asarray(updated.array("points/xyz.npy"))}
    kept = np.array([row.tobytes() in stays for row in model.xyz.astype(np.float32)])
    is_gone, is_there = gone >= GONE_SHARE, gone <= THERE_SHARE
    retired_right = int((~kept & is_gone).sum())
    return {
        "points": len(kept),
        "gone": int(is_gone.sum()),
        "there": int(is_there.sum()),
        "neither": int((~is_gone & ~is_there).sum()),
        "retired": int((~kept).sum()),
        "retired_and_gone": retired_right,
        "retired_and_there": int((~kept & is_there).sum()),
        "kept_and_gone": int((kept & is_gone).sum()),
        "precision": round(retired_right / max(int((~kept & (is_gone | is_there)).sum()), 1), 4),
        "recall": round(retired_right / max(int(is_gone.sum()), 1), 4),
        "kept_of_there": round(int((kept & is_there).sum()) / max(int(is_there.sum()), 1), 4),
    }


def changed_share(model: SceneModel, seed: int, altered: float) -> np.ndarray:
    """(P,): share of the pixels around each point that look otherwise in the altered yard."""
    worlds = [
        make_courtyard(WorldConfig(seed=seed, texel_m=TEXEL_MM / 1000, altered=part))
        for part in (0.0, altered)
    ]
    share = np.full(len(model.xyz), np.nan)
    while np.isnan(share).any():  # the photo that sees most of the points that are left
        left = [int(np.isnan(share[view.point_id]).sum()) for view in model.views]
        index = int(np.argmax(left))
        view = model.views[index]
        before, after = (render(w, view.camera, view.cam_from_world, supersample=1) for w in worlds)
        colour = np.abs(before.image_bgr.astype(int) - after.image_bgr).max(axis=2)
        changed = (colour > CHANGED_LEVELS) | (np.abs(before.depth_m - after.depth_m) > CHANGED_M)
        pixel = np.rint(view.xy_px).astype(int)
        for point, (x, y) in zip(view.point_id, pixel, strict=True):
            if np.isnan(share[point]):
                top, start = max(y - PATCH_PX, 0), max(x - PATCH_PX, 0)
                patch = changed[top : y + PATCH_PX + 1, start : x + PATCH_PX + 1]
                share[point] = patch.mean()
    return share


def _once(output: Path, seconds: dict[str, float], make: Callable[[], None]) -> None:
    """Unless it is there already."""
    if not (output / "manifest.json").is_file():
        started = time.process_time()
        make()
        seconds["/".join(output.parts[-2:])] = round(time.process_time() - started, 1)


if __name__ == "__main__":
    sys.exit(main())
