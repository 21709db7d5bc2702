"""Which embedding finds the mapping photos that show what a query shows?

    python tests/benchmarks/places.py --weights WEIGHTS --scenes MAP=DATA/SCENE ...

For every query, the share of each mapping photo's points that lie inside the query's
picture (by the reference pose; nothing is asked of what hides them) is the truth. Printed:
the mean share of the first, the five and the ten photos that an embedding ranks first,
beside the best that any ranking could do and beside chance. `vlad` is the map's own, of
its local features; `place` the feature network's embedding; `both` what maps of that network use.
MAP needs its work folder, MAP.work, and may be of any features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edge_reloc.bundle import open_bundle
from edge_reloc.embedding.vlad import open_vlad
from edge_reloc.reference.colmap import read_model
from edge_reloc_export.nets.waymark import load_waymark
from edge_reloc_export.photos.features import open_store
from edge_reloc_export.scene.model import load_model

Array = NDArray[np.float64]
FIRST = (1, 5, 10)


def main() -> None:
    """Print one table a scene."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="of the feature network")
    parser.add_argument("--scenes", nargs="+", required=True, metavar="MAP=DATA/SCENE")
    parser.add_argument("--every", type=int, default=1, help="each n-th query")
    options = parser.parse_args()
    network = load_waymark(options.weights)
    for scene in options.scenes:
        bundle, _, folder = scene.partition("=")
        compare(network, Path(bundle), Path(folder), options.every)


def compare(network: torch.nn.Module, bundle: Path, folder: Path, every: int) -> None:
    """One scene's table."""
    work = bundle.with_name(bundle.name + ".work")
    model, store = load_model(work / "model.npz"), open_store(work)
    vlad = open_vlad(open_bundle(bundle))  # of "vlad+place" too
    reference = read_model(folder / "reference")
    poses = {image.name: image for image in reference.images}
    queries = [n for n in (folder / "queries.txt").read_text().split() if n in poses][::every]
    mapped = [view.name for view in model.views]

    def embeddings(names: list[str]) -> dict[str, Array]:
        local = [vlad.embedding(store.get(n).descriptor.astype(np.float32)) for n in names]
        place = [_place(network, folder / "images" / n, store.turns.get(n, 0)) for n in names]
        of = {"vlad": np.stack(local).astype(float), "place": np.stack(place).astype(float)}
        return of

    shared = np.zeros((len(queries), len(mapped)))
    for row, name in enumerate(queries):
        image = poses[name]
        camera, pose = reference.cameras[image.camera_id], image.cam_from_world
        xyz = model.xyz @ pose[:3, :3].T + pose[:3, 3]
        ahead = xyz[:, 2] > 1e-6
        xy = camera.project(np.where(ahead[:, None], xyz, [0, 0, 1.0]))
        inside = ahead & (xy >= 0).all(1) & (xy < [camera.width, camera.height]).all(1)
        shared[row] = [inside[np.unique(view.point_id)].mean() for view in model.views]
    ranked = {"best possible": shared, "chance": np.zeros_like(shared)}
    of_queries, of_mapped = embeddings(queries), embeddings(mapped)
    mean = of_mapped["place"].mean(axis=0)
    for of in (of_queries, of_mapped):
        away = of["place"] - mean
        of["place - mean"] = away / np.linalg.norm(away, axis=1, keepdims=True)
        of["both"] = np.hstack([of["vlad"], of["place - mean"]])
    ranked |= {kind: of_queries[kind] @ of_mapped[kind].T for kind in of_queries}
    print(f"{folder.name}: {len(queries)} queries, {len(mapped)} photos; share of points seen")
    for kind, score in ranked.items():
        order = np.argsort(-score, axis=1, kind="stable")
        found = np.take_along_axis(shared, order, axis=1)
        if kind == "chance":
            found = np.broadcast_to(shared.mean(1, keepdims=True), shared.shape)
        cells = "  ".join(f"first {k}: {found[:, :k].mean():.1%}" for k in FIRST)
        print(f"  {kind:<14} {cells}", flush=True)


@torch.no_grad()
def _place(network: torch.nn.Module, path: Path, turns: int) -> NDArray[np.float32]:
    grey = np.rot90(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), turns)
    image = torch.from_numpy(np.ascontiguousarray(grey)).float()[None, None]
    return np.asarray(network(image).embedding[0].numpy())


if __name__ == "__main__":
    main()
