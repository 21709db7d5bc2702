"""Accuracy thresholds as people write them: 5cm/5deg, 0.5m/2deg, 1%/1deg."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import ConfigError

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_PATTERN = re.compile(rf"{_NUMBER}(cm|m|%|u)?/{_NUMBER}(?:deg|°)?")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """How far off a pose may lie to count as right."""

    #: As it was written.
    text: str
    #: Map units, or a share of the scene's size.
    translation: float
    rotation_deg: float
    #: `translation` is a share.
    relative: bool
    #: `translation` is in metres, which a map that is not metric does not have.
    metric: bool

    def limit(self, scene_size: float) -> float:
        """Largest translation error in map units."""
        return self.translation * (scene_size if self.relative else 1.0)


DEFAULTS = {True: "5cm/5deg,10cm/5deg", False: "1%/1deg,5%/5deg"}  # of metric maps, of others

TOLERANCES = {True: "5cm/1deg", False: "2%/1deg"}  # beyond which a pose is wrong


def thresholds_of(text: str | None, metric: bool, where: str) -> tuple[Threshold, ...]:
    """Those that a text names, or the usual ones of metric maps and of others.

    ConfigError for metres where the map (`where`) has none.
    """
    thresholds = parse_thresholds(DEFAULTS[metric] if text is None else text)
    wrong = [t.text for t in thresholds if t.metric]
    if wrong and not metric:
        raise ConfigError(
            f"threshold '{wrong[0]}': {where} is not metric; give a share of the cameras' median "
            f"distance such as {DEFAULTS[False].split(',')[0]}, or map units such as 0.1u/5deg"
        )
    return thresholds


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """Comma-separated thresholds; ConfigError names the malformed one."""
    thresholds = []
    for item in text.split(","):
        match = _PATTERN.fullmatch(item.strip())
        if match is None:
            raise ConfigError(
                f"threshold '{item}': expected for example 5cm/5deg, 0.5m/2deg or 1%/1deg"
            )
        value, unit, degrees = float(match[1]), match[2], float(match[3])
        factor = {"cm": 0.01, "%": 0.01}.get(unit, 1.0)
        thresholds.append(
            Threshold(
                text=item.strip(),
                translation=value * factor,
                rotation_deg=degrees,
                relative=unit == "%",
                metric=unit in ("cm", "m"),
            )
        )
    return tuple(thresholds)
