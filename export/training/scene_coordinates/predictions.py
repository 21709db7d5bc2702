"""What a scene coordinate network says of photos, and the training report as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edge_reloc.arrays import F32, F64, I64, U8
from edge_reloc.running.floor_plan import FloorPlan
from edge_reloc.sources.photo import read_photo

from ...nets.scene_coordinates import SceneCoordinates
from ...scene.combine import PhotoStore
from ...scene.model import SceneModel, View
from ..plots import save_figure
from ..report import History
from .photo_cells import PhotoCells

SURE = 0.49  # share of the cells, the best, that the plan shows
PLAN_PX = 900


@dataclass(frozen=True, kw_only=True)
class PhotoPrediction:
    """Of the N cells of one photo."""

    view: View
    image: U8  #: (H,W,3) BGR
    xy_px: F64  #: (N,2)
    xyz_world: F32  #: (N,3)
    score: F32  #: (N,)
    structural: I64  #: (N,): the likeliest label
    semantic: I64  #: (N,)


def predict_photos(
    network: SceneCoordinates,
    cells: PhotoCells,
    model: SceneModel,
    store: PhotoStore,
    views: Sequence[int] | NDArray[np.intp],
) -> list[PhotoPrediction]:
    """What the network says of mapping photos."""
    device = network.place.centre.device
    found = []
    for index in views:
        view = model.views[index]
        image = read_photo(store.photo(view.name), grey=False)
        look = cells.look(image, view.quarter_turns)
        with torch.no_grad():
            said = network(look.features().to(device))
        found.append(
            PhotoPrediction(
                view=view,
                image=image,
                xy_px=look.xy_px,
                xyz_world=said.xyz_world.cpu().numpy(),
                score=said.score.cpu().numpy(),
                structural=said.structural.argmax(dim=1).cpu().numpy(),
                semantic=said.semantic.argmax(dim=1).cpu().numpy(),
            )
        )
    return found


def plot_scene_coordinates(
    path: Path,
    photos: Sequence[PhotoPrediction],
    model: SceneModel,
    history: History,
) -> None:
    """Labels and scores over one photo, points of all of them from above, and the training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 9.5), layout="constrained")
    axes = figure.subplots(2, 3)
    _draw_photo(axes[0], photos[len(photos) // 2])
    gravity = model.gravity
    plan = FloorPlan(model.xyz, np.zeros((0, 3)), gravity, PLAN_PX)
    said = np.concatenate([_surest(photo) for photo in photos])
    for place, xyz, title in (
        (axes[1, 0], model.xyz, f"{plan.title}: its points"),
        (axes[1, 1], said, f"the surer half of the cells of {len(photos)} photos"),
    ):
        place.imshow(plan.density(np.asarray(xyz, np.float64)))
        place.set_title(title)
        place.axis("off")
    _draw_history(axes[1, 2], history)
    save_figure(figure, path, dpi=90)


def _draw_photo(axes: Any, photo: PhotoPrediction) -> None:
    """Colours over the photo; cells that were not asked show it bare."""
    grey = cv2.cvtColor(cv2.cvtColor(photo.image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2RGB)
    side = max(photo.image.shape[:2])
    dot = (2600 / side) ** 2
    titles = ("structural labels", "semantic labels", "log of the discriminability score")
    values = (_shuffled(photo.structural), photo.semantic, np.log(photo.score))
    for place, title, value, colours in zip(
        axes, titles, values, ("nipy_spectral", "coolwarm", "viridis"), strict=True
    ):
        place.imshow(grey, alpha=0.6)
        drawn = place.scatter(*photo.xy_px.T, c=value, s=dot, cmap=colours, linewidths=0)
        place.set_title(f"{title}, {photo.view.name}")
        place.axis("off")
        if value is values[-1]:
            place.figure.colorbar(drawn, ax=place, shrink=0.7)


def _draw_history(place: Any, history: History) -> None:
    iteration, _, error, right = np.array(history).T
    place.semilogy(iteration, error, label="median reprojection error, pixels")
    place.set_xlabel("iteration")
    place.grid(alpha=0.3)
    other = place.twinx()
    other.plot(iteration, 100 * right, color="tab:orange", label="structural labels right, %")
    other.set_ylim(0, 100)
    lines = place.get_lines() + other.get_lines()
    place.legend(lines, [line.get_label() for line in lines], loc="center right")
    place.set_title("training, on its own cells")


def _surest(photo: PhotoPrediction) -> F32:
    rows = np.argsort(-photo.score)[: round(SURE * len(photo.score))]
    return photo.xyz_world[rows]


def _shuffled(label: I64) -> F64:
    """Neighbours in number get colours far apart."""
    return np.asarray((label * 0.381966) % 1.0)
