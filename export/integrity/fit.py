"""The weights of the model of right poses, from photos that maps have not seen, spoilt and not.

    python -m edge_reloc_export.integrity.fit --foreign elsewhere/ maps/a=photos/a maps/b=photos/b

Of each map a third of the photos is left out, three times another third; they are localised as
they are and as every wrong case of `edge-reloc evaluate --adversarial`. The logistic model is
fitted to whether poses are right (Cox, J. R. Stat. Soc. B, 1958), and judged on each map with
weights of the other ones alone: Brier score and reliability. The maps' `MAP.work` folders must
be there. Prints what `bundle/manifest.py` holds, changes nothing.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge_reloc.arrays import F64, I32, U8, Bool
from edge_reloc.bundle import MapBundle, open_bundle
from edge_reloc.bundle.manifest import Plausibility
from edge_reloc.command_line.arguments import whole
from edge_reloc.command_line.program import OK, program
from edge_reloc.errors import ConfigError
from edge_reloc.evaluation.adversarial import draw
from edge_reloc.evaluation.plots import check_plot, plot_reliability
from edge_reloc.evaluation.wrong_cases import CASES, Case, Need
from edge_reloc.evaluation.wrong_frames import Shot
from edge_reloc.evaluation.wrong_images import Rng, fitted
from edge_reloc.geometry.rigid import pose_error
from edge_reloc.localizer import Localizer
from edge_reloc.methods import Settings
from edge_reloc.methods.table import EXHAUSTIVE, IMAGE_RETRIEVAL
from edge_reloc.pose.plausibility import deviations
from edge_reloc.sources.listing import list_folder
from edge_reloc.sources.photo import read_photo
from edge_reloc.structs import Frame

from ..packing.packed_model import load_packed
from ..progress import open_bar
from ..scene.model import SceneModel
from ..work_folder import work_folder
from .leave_out import neighbourhoods, write_without
from .measure import RIGHT_DEG, distance_of, right_within

log = logging.getLogger(__name__)

SHARE, TIMES = 0.3, 3  # of the photos, left out at once, and how often
UNALTERED = 14  # tries of photos as they are
METHODS = (  # the first finds what the others need of a frame
    (IMAGE_RETRIEVAL.name, True),
    (EXHAUSTIVE.name, False),
    (EXHAUSTIVE.name, True),
)
# Neither right nor wrong enough to learn from, times what is allowed.
NEARLY, BARELY = 0.7, 1.5
# A focal length that is a little off makes an error that is a little too large, and of level
# ground from above no frame can tell it at all: the calibration check's task.
LEFT_TO_OTHERS = ("focal_",)
RIDGE, STEPS = 1e-2, 60
BINS = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)


@dataclass(frozen=True, kw_only=True)
class Tries:
    """Poses of one map, N in all."""

    name: str
    #: (N,2) how many standard deviations beyond what is usual, 0 for less
    beyond: F64
    #: (N,) error over what is allowed, infinite where no pose is right
    excess: F64
    #: (N,)
    case: tuple[str, ...]

    @property
    def right(self) -> Bool:
        """(N,)."""
        return np.asarray(self.excess <= 1.0)

    @property
    def clear(self) -> Bool:
        """(N,) that the fit and its figures are of."""
        told = [not name.startswith(LEFT_TO_OTHERS) for name in self.case]
        return np.asarray(told & ((self.excess < NEARLY) | (self.excess > BARELY)))


class LeftOut:
    """Photos that a map was left without, as `wrong_frames.Album` asks for them."""

    def __init__(self, model: SceneModel, rows: I32, photos: Path, foreign: Sequence[Path]) -> None:
        self._views = [model.views[row] for row in rows]
        self._photos, self._foreign = photos, foreign
        self.size = len(rows)

    def shot(self, index: int) -> Shot:
        """A photo with its mapping pose; numbers go round."""
        view = self._views[index % self.size]
        image = read_photo(self._photos / view.name)
        frame = Frame(image=image, t_ns=0, camera=view.camera, name=view.name)
        return Shot(frame=frame, right=(view.cam_from_world,))

    def another(self, index: int, rng: Rng) -> int:
        """Number of another photo by the same camera."""
        own = self._views[index % self.size]
        others = [n for n, v in enumerate(self._views) if v is not own and v.camera == own.camera]
        return int(rng.choice(others))

    def elsewhere(self, rng: Rng, like: U8) -> U8:
        """A photo of another place, as large as `like`."""
        return fitted(read_photo(self._foreign[int(rng.integers(len(self._foreign)))]), like)

    @property
    def lacks(self) -> set[Need]:
        """What cases cannot be made."""
        cameras = [view.camera for view in self._views]
        alone = any(cameras.count(camera) == 1 for camera in set(cameras))
        return {Need.TRACKING} | ({Need.ANOTHER, Need.ONE_CAMERA} if alone else set())


def tries_of(
    bundle: Path, photos: Path, foreign: Sequence[Path], tries: int, cases: Sequence[Case]
) -> Tries:
    """Localise the photos that a map is left without, spoilt and not."""
    work = work_folder(bundle)
    opened = open_bundle(bundle)
    model, integrity = load_packed(work, opened), opened.manifest.integrity
    if integrity is None or integrity.plausibility is None:
        raise ConfigError(f"{bundle}: knows nothing of left-out photos; map the place again")
    usual = integrity.plausibility
    found: list[tuple[float, float, float, str]] = []
    with TemporaryDirectory() as scratch:
        for number, rows in enumerate(neighbourhoods(model.views, model.xyz, TIMES, SHARE)):
            target = Path(scratch) / "map"
            write_without(model, bundle, rows, target)
            album = LeftOut(model, rows, photos, foreign)
            allowed = [right_within(distance_of(model, model.views[row])) for row in rows]
            found += _poses(open_bundle(target), album, usual, np.median(allowed), tries, cases)
            shutil.rmtree(target)
            log.info("%s: %d of %d neighbourhoods", bundle.name, number + 1, TIMES)
    beyond = np.array([row[:2] for row in found]).reshape(-1, 2)
    return Tries(
        name=bundle.name,
        beyond=beyond,
        excess=np.array([row[2] for row in found]),
        case=tuple(row[3] for row in found),
    )


def _poses(
    bundle: MapBundle,
    album: LeftOut,
    usual: Plausibility,
    allowed: float,
    tries: int,
    cases: Sequence[Case],
) -> Iterator[tuple[float, float, float, str]]:
    """Two deviations, excess and case of every pose that passes the gate's other thresholds."""
    with ExitStack() as opened:
        localizers: dict[tuple[int, ...], list[Localizer]] = {}
        for case in cases:
            if album.lacks.intersection(case.needs):
                continue
            wanted = UNALTERED if case.name == "unaltered" else tries
            for _, index, rng in draw(case, album.size, wanted, 0):
                for shot in case.make(album, index, rng):
                    size = shot.frame.image.shape
                    if size not in localizers:
                        localizers[size] = [
                            opened.enter_context(_open(bundle, shot.frame, *method))
                            for method in METHODS
                        ]
                    for pose, beyond in _found(localizers[size], shot.frame, usual):
                        yield *beyond, _excess(pose, shot, allowed), case.name


def _open(bundle: MapBundle, frame: Frame, method: str, second_pass: bool) -> Localizer:
    assert frame.camera is not None
    settings = Settings(
        method=method,
        second_pass=second_pass,
        calibration_check=False,
        min_p_right=0.0,
        threads=1,
    )
    return Localizer.open(bundle, frame.camera, settings)


def _found(
    localizers: Sequence[Localizer], frame: Frame, known: Plausibility
) -> Iterator[tuple[F64, tuple[float, float]]]:
    """Every pose (4,4) of a frame, and how far what it shows is from what is usual."""
    extracted = localizers[0].extract(replace(frame, quarter_turns=0))
    for localizer in localizers:
        result = localizer.locate(replace(extracted, laps={}))
        evidence = result.estimate.evidence
        if result.cam_from_world is not None and evidence is not None:
            usual = known.refined if result.estimate.refined else known.first
            yield result.cam_from_world, deviations(usual, evidence)


def _excess(pose: F64, shot: Shot, allowed: float) -> float:
    errors = [pose_error(pose, right) for right in shot.right]
    return min(
        (max(e.translation / allowed, e.rotation_deg / RIGHT_DEG) for e in errors), default=np.inf
    )


def fit(beyond: F64, right: Bool) -> F64:
    """Two weights and the bias (3,) of a logistic model, by Newton's method."""
    rows = np.c_[-beyond, np.ones(len(beyond))]
    numbers = np.zeros(3)
    ridge = np.diag([RIDGE, RIDGE, 0.0])
    for _ in range(STEPS):
        p = _chance(rows, numbers)
        hessian = (rows * (p * (1 - p))[:, None]).T @ rows + ridge + 1e-9 * np.eye(3)
        numbers += np.linalg.solve(hessian, rows.T @ (right - p) - ridge @ numbers)
    return numbers


def _chance(rows: F64, numbers: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(rows @ numbers, -50, 50))))


def judged(maps: Sequence[Tries]) -> F64:
    """(N,) chance of every pose of all maps, by weights of the other maps."""
    chances = []
    for tried in maps:
        rest = [other for other in maps if other is not tried]
        numbers = fit(
            np.concatenate([other.beyond[other.clear] for other in rest]),
            np.concatenate([other.right[other.clear] for other in rest]),
        )
        chances.append(_chance(np.c_[-tried.beyond, np.ones(len(tried.beyond))], numbers))
    return np.concatenate(chances)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Print weights, Brier score, reliability, and what the bar costs."""
    parser = argparse.ArgumentParser(prog="python -m edge_reloc_export.integrity.fit")
    parser.add_argument("maps", nargs="+", metavar="MAP=PHOTOS", help="maps with work folders")
    parser.add_argument("--foreign", type=Path, required=True, help="photos of other places")
    parser.add_argument("--tries", type=whole(1), default=2, help="of each case and third")
    parser.add_argument("--reliability", type=Path, metavar="PNG", help="draw the reliability")
    options = parser.parse_args(argv)
    if len(options.maps) < 2 or not all("=" in text for text in options.maps):
        raise ConfigError("name two maps or more, each as MAP=PHOTOS")
    if options.reliability is not None:
        check_plot(options.reliability)
    foreign = [options.foreign / name for name in list_folder(options.foreign, deep=True).photos]
    maps = []
    with open_bar(len(options.maps), "spoiling photos", "map") as bar:
        for text in options.maps:
            bundle, _, photos = text.partition("=")
            maps.append(tries_of(Path(bundle), Path(photos), foreign, options.tries, CASES))
            bar.update()
    _report(maps, options.reliability)
    return OK


def _report(maps: Sequence[Tries], picture: Path | None) -> None:
    chance, right = judged(maps), np.concatenate([tried.right for tried in maps])
    clear = np.concatenate([tried.clear for tried in maps])
    numbers = fit(
        np.concatenate([tried.beyond[tried.clear] for tried in maps]),
        np.concatenate([tried.right[tried.clear] for tried in maps]),
    )
    print("explained {:.2f}, concentration {:.2f}, bias {:.2f}".format(*numbers))
    brier, always = np.mean(np.square(chance - right)[clear]), np.mean(right[clear])
    print(
        f"{clear.sum()} poses, {right[clear].sum()} right: Brier score {brier:.4f}, of always "
        f"saying {always:.2f} {always * (1 - always):.4f}; each map by weights of the others"
    )
    rows = list(_reliability(chance[clear], right[clear]))
    print("said       poses  in the mean  right")
    for low, high, count, said, true in rows:
        print(f"{low:.2f}-{high:.2f}  {count:5d}        {said:.3f}  {true:.3f}")
    begin = 0
    for tried in maps:
        own = chance[begin : begin + len(tried.excess)] >= 0.5
        begin += len(tried.excess)
        wrong = tried.excess > BARELY
        plain = tried.right & np.array([name == "unaltered" for name in tried.case])
        print(
            f"{tried.name}: of {wrong.sum()} wrong poses {(wrong & own).sum()} are at least as "
            f"likely right, of {plain.sum()} right ones of photos as they are "
            f"{(plain & ~own).sum()} less, of all {tried.right.sum()} right ones "
            f"{(tried.right & ~own).sum()}"
        )
    if picture is not None:
        plot_reliability(picture, [(said, true, count) for _, _, count, said, true in rows])


def _reliability(chance: F64, right: Bool) -> Iterator[tuple[float, float, int, float, float]]:
    """Lower end, upper end, poses, what is said in the mean, and what is true."""
    for low, high in pairwise(BINS):
        inside = (chance >= low) & ((chance < high) | (high == BINS[-1]))
        if inside.any():
            yield (
                low,
                high,
                int(inside.sum()),
                float(chance[inside].mean()),
                float(right[inside].mean()),
            )


if __name__ == "__main__":
    sys.exit(main())
