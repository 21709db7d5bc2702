"""Conditions on a profile, as a CI writes them: "p99_ms<50", "growth_bytes==0"."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConfigError

OPERATORS = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One comparison of a figure with a number."""

    #: As it was written.
    text: str
    #: Name of the figure.
    figure: str
    #: Of `OPERATORS`.
    compare: str
    limit: float

    def failure(self, figures: Mapping[str, float | None]) -> str | None:
        """Why it does not hold, in a line; None when it does.

        ConfigError for a figure that no profile has; one that this machine cannot
        measure fails.
        """
        if self.figure not in figures:
            raise ConfigError(
                f"--assert '{self.text}': no figure '{self.figure}'; expected one of "
                f"{', '.join(figures)}"
            )
        value = figures[self.figure]
        if value is None:
            return f"{self.text}: {self.figure} is unknown: too short a run, or not told here"
        if OPERATORS[self.compare](value, self.limit):
            return None
        return f"{self.text}: {self.figure} is {value:g}"


def parse_condition(text: str) -> Condition:
    """ConfigError for what is no comparison."""
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|==|!=|<|>)\s*(-?[0-9.]+(?:e-?\d+)?)\s*", text)
    if match is None:
        raise ConfigError(f"--assert '{text}': expected a comparison such as 'p99_ms<50'")
    return Condition(text=text.strip(), figure=match[1], compare=match[2], limit=float(match[3]))
