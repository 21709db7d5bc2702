"""Judge what was trained on mapping photos that it has not seen, as a device would see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_reloc.arrays import Bool
from edge_reloc.bundle import open_bundle
from edge_reloc.geometry.camera import Camera
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.judgement import Judgement

from ..integrity.measure import usual_of
from ..scene.combine import PhotoStore
from ..scene.model import SceneModel, View
from .session import blocks_of_views

BLOCK = 2  # neighbouring photos that are left out together
PHOTOS_PER_BLOCK = 20  # one block of so many photos: a tenth of them
BLOCKS = (2, 12)  # fewest, and most that are worth their time
# A pose further off than this share of the distance to what the photo sees, or turned by more.
WRONG_SHARE, WRONG_DEG = 0.05, 5.0
# Of all photos, and of those localised. Whole schedules find over nine tenths of queries, too; of
# 8 photos of a courtyard, 400 steps of scene coordinates found 5, and 150 none.
LEAST_LOCALISED, MOST_WRONG = 0.75, 0.1
FORGIVEN = 1  # wrong poses: one photo in a few proves nothing


def left_out_views(views: int) -> Bool:
    """(V,) true for photos that the training does not see; none where there are too few."""
    count = min(views // PHOTOS_PER_BLOCK, BLOCKS[1])
    if count < BLOCKS[0]:
        return np.zeros(views, bool)
    return blocks_of_views(views, count, BLOCK)


def judge(bundle_dir: Path, model: SceneModel, store: PhotoStore, left_out: Bool) -> Judgement:
    """Localise the photos left out (V,) with a map's default method.

    Where none was left out, as many of those that were learnt: what fails on these has not
    been learnt at all.
    """
    views, bundle = len(model.views), open_bundle(bundle_dir)
    chosen = np.flatnonzero(left_out)
    if not len(chosen):
        chosen = np.unique(np.linspace(0, views - 1, BLOCK * BLOCKS[1]).astype(int))
    localizers: dict[Camera, Localizer] = {}
    errors, limits, shown = [], [], []
    for index in chosen:
        view = model.views[index]
        if view.camera not in localizers:
            settings = Settings(engine="onnxruntime", min_p_right=0.0)
            localizers[view.camera] = Localizer.open(bundle, view.camera, settings)
        localizer = localizers[view.camera]
        result = localizer.localize(store.photo(view.name))
        if result.cam_from_world is not None:
            errors.append(pose_error(result.cam_from_world, view.cam_from_world))
            limits.append(WRONG_SHARE * _distance(model, view))
            shown.append(result.estimate.evidence)
    for localizer in localizers.values():
        localizer.close()
    away, turned = np.array(errors).reshape(-1, 2).T
    wrong = (away > np.array(limits)) | (turned > WRONG_DEG)
    return Judgement(
        photos=len(chosen),
        left_out=bool(left_out.any()),
        localised=len(errors),
        wrong=int(wrong.sum()),
        median_error=float(np.median(away)) if errors else None,
        median_deg=float(np.median(turned)) if errors else None,
        usual=usual_of([e for e, bad in zip(shown, wrong, strict=True) if e and not bad]),
    )


def is_learnt(judgement: Judgement) -> bool:
    """Whether what was trained may go into a map."""
    most_wrong = max(MOST_WRONG * judgement.localised, FORGIVEN)
    enough = judgement.localised >= LEAST_LOCALISED * judgement.photos
    return enough and judgement.wrong <= most_wrong


def bar() -> str:
    """What is asked, in words."""
    return (
        f"at least {LEAST_LOCALISED:.0%} should be, and of these at most {MOST_WRONG:.0%} wrongly "
        f"(by over {WRONG_SHARE:.0%} of the distance to what they see, or {WRONG_DEG:g} deg)"
    )


def _distance(model: SceneModel, view: View) -> float:
    """From the camera to what it sees, map units; to the whole map where it observes nothing."""
    seen = model.xyz[view.point_id] if len(view.point_id) else model.xyz
    depth = seen @ view.cam_from_world[2, :3] + view.cam_from_world[2, 3]
    return float(np.median(np.abs(depth)))
