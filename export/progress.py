"""Progress of long work on standard error."""

from __future__ import annotations

from typing import Any, Protocol

from tqdm import tqdm


class Progress(Protocol):
    """Called as work goes on."""

    def __call__(self, done: int, total: int, value: float | None = None) -> None:
        """How much of the work is done; value: what is watched, such as the loss."""


def silent(done: int, total: int, value: float | None = None) -> None:
    """Progress of work that nobody watches."""


def open_bar(total: int, name: str, unit: str, *, shown: bool = True) -> Any:
    """A tqdm bar to update and close; hidden where standard error is no terminal."""
    return tqdm(total=total, desc=name, unit=unit, disable=None if shown else True)


class ProgressBar:
    """A `Progress` as a bar that opens with the first call, in log files too."""

    def __init__(self, name: str, unit: str = "step") -> None:
        self._name, self._unit = name, unit
        self._bar: Any = None

    def __call__(self, done: int, total: int, value: float | None = None) -> None:
        """Move the bar; it closes when all is done."""
        if self._bar is None:
            self._bar = tqdm(total=total, desc=self._name, unit=self._unit, initial=done)
        if value is not None:
            self._bar.set_postfix(loss=f"{value:.3f}", refresh=False)
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
