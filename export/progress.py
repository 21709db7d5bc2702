"""Progress of long work on standard error: a bar on a terminal, lines now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any, Protocol, TextIO

from tqdm import tqdm

#: seconds between two lines of a log at least: what takes no longer says nothing
LEAST_S = 5.0
#: and at most, where the work goes on
MOST_S = 60.0
#: of the work: a line each, where they are LEAST_S apart
SHARE = 0.1


class LogHandler(logging.Handler):
    """Lines on standard error that do not run into an open bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record above the bars."""
        tqdm.write(self.format(record), file=sys.stderr)


class Progress(Protocol):
    """Called as work goes on."""

    def __call__(self, done: int, total: int, value: float | None = None) -> None:
        """How much of the work is done; value: what is watched, None before it was measured."""


#: False in workers, whose lines would run into those of the program that started them
shown_here = True


def silent(done: int, total: int, value: float | None = None) -> None:
    """Progress of work that nobody watches."""


def open_bar(total: int, name: str, unit: str, *, shown: bool = True) -> Bar:
    """The bar of `total` pieces of work, to update and close; a context manager."""
    return Bar(total, name, unit, shown=shown)


class Bar:
    """How much of the work is done: a tqdm bar on a terminal, plain lines anywhere else.

    unit: one piece of the work, "photo". watched: name of the number that `show` is given.
    done: pieces that were done before, as of a training that goes on.
    """

    def __init__(
        self,
        total: int,
        name: str,
        unit: str,
        *,
        shown: bool = True,
        watched: str = "",
        done: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.done = total, done
        self._watched, self._value = watched, ""
        stream, shown = stream or sys.stderr, shown and shown_here
        self._bar: Any = None
        self._log: _Log | None = None
        if shown and stream.isatty():
            self._bar = tqdm(total=total, desc=name, unit=unit, initial=done, file=stream)
        elif shown:
            self._log = _Log(name, f"{unit}s", done, stream)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, value: float) -> None:
        """The number that is watched, with the next update."""
        text = f"{self._watched} {value:.3g}"
        if text != self._value:
            self._value = text
            if self._bar is not None:
                self._bar.set_postfix_str(text, refresh=False)

    def update(self, n: int = 1) -> None:
        """`n` more pieces of the work are done."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
        elif self._log is not None:
            self._log.tell(self.done, self.total, self._value)

    def close(self) -> None:
        """No more will be done. Once is enough, twice does no harm."""
        if self._bar is not None:
            self._bar.close()
        elif self._log is not None:
            self._log.end(self.done, self.total, self._value)
        self._bar = self._log = None


class _Log:
    """Lines of one piece of work in a log."""

    def __init__(self, name: str, units: str, done: int, stream: TextIO) -> None:
        self._name, self._units, self._stream = name, units, stream
        self._first = self._told = done
        self._begun = self._last = time.monotonic()
        self._silent = True

    def tell(self, done: int, total: int, value: str) -> None:
        """A line, when there is enough to tell since the last."""
        now = time.monotonic()
        since = now - self._last
        if done >= total or since < LEAST_S:
            return  # the last line is said at the end
        if done - self._told < SHARE * total and since < MOST_S:
            return
        self._told, self._last, self._silent = done, now, False
        took = now - self._begun
        left = (total - done) * took / max(done - self._first, 1)
        self._write(done, total, f"{_clock(took)} so far, about {_clock(left)} left", value)

    def end(self, done: int, total: int, value: str) -> None:
        """The last line, of work that took its time."""
        took = time.monotonic() - self._begun
        if not self._silent or took >= LEAST_S:
            self._write(done, total, _clock(took), value)

    def _write(self, done: int, total: int, when: str, value: str) -> None:
        share = f" ({100 * done // total} %)" if total else ""
        parts = [f"{self._name}: {done} of {total} {self._units}{share}", when, value]
        print(", ".join(part for part in parts if part), file=self._stream, flush=True)


def _clock(seconds: float) -> str:
    """1:05, or 2:00:00 where it takes hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class ProgressBar:
    """A `Progress` as a bar, which opens with the first call.

    watched: name of the value that it is called with. A context manager: leaving it closes
    the bar, so that what is printed next has a line of its own.
    """

    def __init__(self, name: str, unit: str = "step", watched: str = "loss") -> None:
        self._name, self._unit, self._watched = name, unit, watched
        self._bar: Bar | None = None

    def __call__(self, done: int, total: int, value: float | None = None) -> None:
        """Move the bar; it closes when all is done, and opens anew for other work."""
        if self._bar is not None and (total != self._bar.total or done < self._bar.done):
            self.close()
        if self._bar is None:
            self._bar = Bar(total, self._name, self._unit, watched=self._watched, done=done)
        if value is not None:
            self._bar.show(value)
        self._bar.update(done - self._bar.done)
        if done >= total:
            self.close()

    def close(self) -> None:
        """End the bar where it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
