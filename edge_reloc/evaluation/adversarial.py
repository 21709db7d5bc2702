"""Run methods over wrong cases, and count the poses that mislead."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..bundle.reader import MapBundle
from ..localizer import Localizer
from ..structs import Frame, PoseEstimate
from ..tiles.any_map import open_on
from .album import PhotoAlbum
from .chosen import Chosen
from .dataset import FRAME_NS
from .stanford import MISLEADS, Outcome, Stanford, together
from .verdicts import Tolerance, Verdict, judge
from .wrong_cases import Case, Need
from .wrong_images import Rng

SHOWN = (Outcome.NOMINAL, *MISLEADS, Outcome.UNAVAILABLE)
APART_NS = 3_600_000_000_000  # between tries


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """One method on one case."""

    case: Case
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> int:
        """Poses called OK."""
        return sum(v.ok for v in self.verdicts)

    @property
    def right(self) -> int:
        """Of these, right."""
        return sum(v.ok and v.right for v in self.verdicts)

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Called OK and wrong, the worst first."""
        wrong = [v for v in self.verdicts if v.wrong]
        return tuple(sorted(wrong, key=lambda v: -(v.error or 0.0)))

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Frames by what became of them."""
        return Counter(v.outcome for v in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, with every verdict."""
        outcomes = self.outcomes
        return {
            "case": self.case.name,
            "expected": self.case.expected.value,
            "tries": len(self.verdicts),
            "ok": self.ok,
            "right": self.right,
            "wrong": len(self.wrong),
            **{outcome.value: outcomes[outcome] for outcome in Outcome},
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """One method on every case that could be made."""

    scene: str
    map: str
    method: str
    metric: bool
    tolerance: Tolerance
    seed: int
    #: beyond which protection levels make a pose unavailable
    alert_limit_m: float | None
    cases: tuple[CaseScore, ...]
    #: why cases were left out: name of the case, what it needs
    skipped: dict[str, str]

    @property
    def tries(self) -> int:
        """Frames judged."""
        return sum(len(case.verdicts) for case in self.cases)

    @property
    def wrong(self) -> int:
        """Poses called OK that are wrong."""
        return sum(len(case.wrong) for case in self.cases)

    @property
    def stanford(self) -> Stanford:
        """All cases together."""
        return Stanford.of(
            (case.case.name, verdict.number, verdict.outcome)
            for case in self.cases
            for verdict in case.verdicts
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary."""
        return {
            "scene": self.scene,
            "map": self.map,
            "method": self.method,
            "metric": self.metric,
            "tolerance": asdict(self.tolerance),
            "seed": self.seed,
            "tries": self.tries,
            "wrong": self.wrong,
            "alert_limit_m": self.alert_limit_m,
            "stanford": self.stanford.to_json(),
            "cases": [case.to_json() for case in self.cases],
            "skipped": self.skipped,
        }


def score_wrong_cases(
    bundle: MapBundle,
    album: PhotoAlbum,
    method: Chosen,
    tolerance: Tolerance,
    *,
    tries: int,
    seed: int,
    cases: Sequence[Case],
    progress: Callable[[int], None] = lambda done: None,
) -> MethodScore:
    """Show a method `tries` photos of each case, or all there are.

    With tracking, each follows its unaltered photo.
    """
    lacks = album.lacks if method.settings.tracking else album.lacks | {Need.TRACKING}
    skipped = {
        case.name: ", ".join(need.value for need in case.needs if need in lacks)
        for case in cases
        if lacks.intersection(case.needs)
    }
    made: list[CaseScore] = []
    gravity, limit_m = bundle.manifest.world.gravity, method.settings.alert_limit_m
    down = None if gravity is None else np.array(gravity)
    done = 0
    with Session(bundle, method) as session:
        for case in cases:
            if case.name in skipped:
                continue
            verdicts: list[Verdict] = []
            for number, index, rng in draw(case, album.size, min(tries, album.size), seed):
                shots = case.make(album, index, rng)
                alone = method.settings.tracking and Need.TRACKING not in case.needs
                before = [album.shot(index)] if alone else []
                estimates = session.localize([shot.frame for shot in [*before, *shots]])
                verdicts += [
                    judge(estimate, shot.right, tolerance, number, down=down, alert_limit_m=limit_m)
                    for shot, estimate in zip(shots, estimates[len(before) :], strict=True)
                ]
                done += 1
                progress(done)
            made.append(CaseScore(case=case, verdicts=tuple(verdicts)))
    return MethodScore(
        scene=album.name,
        map=bundle.directory.name,
        method=method.text,
        metric=bundle.manifest.world.metric,
        tolerance=tolerance,
        seed=seed,
        alert_limit_m=limit_m,
        cases=tuple(made),
        skipped=skipped,
    )


def draw(case: Case, photos: int, tries: int, seed: int) -> Iterator[tuple[int, int, Rng]]:
    """Number of each try, its photo and its generator; every photo once before any twice.

    They depend on the case's name and the seed alone, not on other cases.
    """
    own = zlib.crc32(case.name.encode())
    order = np.random.default_rng([seed, own]).permutation(photos)
    for number in range(tries):
        yield number, int(order[number % photos]), np.random.default_rng([seed, own, number])


class Session:
    """A localiser for each size of image, that knows nothing of what it was shown before."""

    def __init__(self, bundle: MapBundle, method: Chosen) -> None:
        self._bundle, self._method = bundle, method
        self._localizers: dict[tuple[int, ...], Localizer] = {}
        self._new: dict[tuple[int, ...], dict[str, Any]] = {}
        self._opened = ExitStack()
        self._t_ns = 0

    def localize(self, frames: Sequence[Frame]) -> list[PoseEstimate]:
        """Frames at 30 Hz, as the first that a localiser sees."""
        self._t_ns += APART_NS
        for size, localizer in self._localizers.items():
            localizer.resume(self._new[size])
        return [
            self._localizer(frame)
            .localize(replace(frame, t_ns=self._t_ns + number * FRAME_NS))
            .estimate
            for number, frame in enumerate(frames)
        ]

    def _localizer(self, frame: Frame) -> Localizer:
        size = frame.image.shape
        if size not in self._localizers:
            assert frame.camera is not None  # a data set's frames have one
            localizer = open_on(self._bundle, frame.camera, self._method.settings)
            self._localizers[size] = self._opened.enter_context(localizer)
            self._new[size] = localizer.recall()
        return self._localizers[size]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()


def format_wrong_cases(scores: Sequence[MethodScore]) -> str:
    """Plain-text tables, one a method, and a summary in one line."""
    blocks = [_table(score) for score in scores]
    scored = {case.case.name for score in scores for case in score.cases}
    skipped = {name: need for score in scores for name, need in score.skipped.items()}
    lines = []
    for need in dict.fromkeys(skipped.values()):
        names = [name for name in skipped if skipped[name] == need and name not in scored]
        lines += [f"left out {', '.join(names)}: needs {need}"] if names else []
    lines += [_summary(name, parts) for name, parts in by_method(scores).items()]
    tries, wrong = sum(s.tries for s in scores), sum(s.wrong for s in scores)
    lines.append(f"wrong cases: {tries} tries, {wrong} poses called OK that are wrong")
    return "\n\n".join([*blocks, "\n".join(lines)])


def by_method(scores: Sequence[MethodScore]) -> dict[str, list[MethodScore]]:
    """Scores of several scenes by their method."""
    return {
        name: [score for score in scores if score.method == name]
        for name in dict.fromkeys(score.method for score in scores)
    }


def availability(scores: Sequence[MethodScore]) -> tuple[int, int]:
    """Poses within the tolerance that have levels, and those of them called OK."""
    right = [
        verdict.ok
        for score in scores
        for case in score.cases
        for verdict in case.verdicts
        if verdict.right and verdict.levels is not None
    ]
    return len(right), sum(right)


def _summary(method: str, scores: Sequence[MethodScore]) -> str:
    """Protection levels of one method in all scenes."""
    counts = together(score.stanford for score in scores)
    outcomes = ", ".join(f"{counts.frames.get(o, 0)} {o.value}" for o in Outcome)
    right, available = availability(scores)
    return (
        f"{method}: {outcomes}; of {counts.independent} independent tries {counts.misleading} "
        f"mislead, at most {counts.at_most:.2%} (95 %); available {available} of {right} right"
    )


def _table(score: MethodScore) -> str:
    header = (
        *("case", "expected", "tries", "OK", "right", "wrong", "worst", "sigmas"),
        *("nominal", "misleading", "hazardous", "unavailable"),
    )
    rows = [header, *(_row(score, case) for case in score.cases)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    title = (
        f"{score.scene}, map {score.map}, {score.method}: right within {score.tolerance.text}, "
        f"seed {score.seed}; {score.wrong} of {score.tries} tries are OK and wrong"
    )
    return "\n".join(
        [title]
        + [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
    )


def _row(score: MethodScore, case: CaseScore) -> tuple[str, ...]:
    wrong, outcomes = case.wrong, case.outcomes
    worst, sigmas = "", ""
    if wrong:
        error, sigma = wrong[0].error, wrong[0].sigmas
        worst = "no pose is right" if error is None else _error(score, wrong[0])
        sigmas = "" if sigma is None else f"{sigma:.0f}"
    return (
        case.case.name,
        case.case.expected.value,
        str(len(case.verdicts)),
        str(case.ok),
        str(case.right),
        str(len(wrong)),
        worst,
        sigmas,
        *(str(outcomes[outcome]) for outcome in SHOWN),
    )


def _error(score: MethodScore, verdict: Verdict) -> str:
    """Metres, or a share of the scene where the map has none."""
    assert verdict.error is not None
    if score.metric:
        return f"{verdict.error:.2f} m {verdict.error_deg:.1f}°"
    return f"{100 * verdict.error / score.tolerance.scene_size:.1f} % {verdict.error_deg:.1f}°"
