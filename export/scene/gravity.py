"""Which way is down, when nothing but the photos tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_reloc.arrays import F64, I64

from .model import View

AGREEMENT = 0.5  # length of a mean axis from which photos count as held alike
LOOKING_DOWN = 0.9
MIXED = 0.85  # length of a mean axis below which some photos may lie on their side
PLANE_RATIO = 0.2  # second over first singular value: the x axes span the horizon


def level_axis(views: Sequence[View], upright: Mapping[str, int] | None = None) -> F64 | None:
    """Unit direction (3,) that is down if the photos were held upright.

    upright: counter-clockwise quarter turns by photo name that show it so, by EXIF, 0 when
    absent; not those that bring photos to the map's heading, which flat ground may give.
    Where some photos lie on their side and no EXIF says so, the way that most are held counts.
    Down is perpendicular to the cameras' x axes when people or drones keep
    their cameras level, whatever the pitch. Where all look the same way it is
    the mean image down. Photos of all headings that look one way look down.
    None when the photos agree on nothing.
    """
    rotations = np.array([view.cam_from_world[:3, :3] for view in views])
    rows = np.arange(len(views))
    turns = np.array([(upright or {}).get(view.name, 0) % 4 for view in views])
    if AGREEMENT < np.linalg.norm(_down(rotations, turns).mean(axis=0)) < MIXED:
        turns = _as_most(rotations, turns)
    around = np.stack([rotations[:, 0], rotations[:, 1], -rotations[:, 0], -rotations[:, 1]])
    right, down = around[turns, rows], around[(turns + 1) % 4, rows]
    forward = rotations[:, 2].copy()
    mean_down, mean_forward = down.mean(axis=0), forward.mean(axis=0)
    if np.linalg.norm(mean_down) < AGREEMENT:
        if np.linalg.norm(mean_forward) > LOOKING_DOWN:
            return np.asarray(mean_forward / np.linalg.norm(mean_forward))
        return None
    _, size, axes = np.linalg.svd(right, full_matrices=False)
    if len(views) > 2 and size[1] > PLANE_RATIO * size[0]:
        normal = axes[2] * np.sign(axes[2] @ mean_down)
        # Rolled cameras tilt the plane of x axes; then the mean is the better guess.
        if normal @ mean_down > 0.7 * np.linalg.norm(mean_down):
            return np.asarray(normal)
    return np.asarray(mean_down / np.linalg.norm(mean_down))


def _down(rotations: F64, turns: I64) -> F64:
    """The image's down (V,3) in the world, of photos shown after so many quarter turns."""
    x, y = rotations[:, 0], rotations[:, 1]
    return np.stack([y, -x, -y, x])[turns % 4, np.arange(len(rotations))]


def _as_most(rotations: F64, turns: I64) -> I64:
    """Turns under which the photos' downs are nearest to the down that most of them share."""
    downs = np.stack([_down(rotations, turns + k) for k in range(4)])  # (4,V,3)
    near = np.einsum("kvi,wi->wkv", downs, downs[0]).argmax(axis=1)  # by the down of photo w
    best = int(np.argmax((near == 0).sum(axis=1)))
    return np.asarray((turns + near[best]) % 4)
