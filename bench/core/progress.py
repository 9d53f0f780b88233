"""Progress on standard error, with time left: bars on a terminal, lines with a time stamp in a log. Standard output is for results."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: Seconds after which a step that goes on says so in a log.
_PATIENCE = 30.0


class Steps(Protocol):
    """Equal steps, of which the current one may be partly done."""

    def name(self, current: str) -> None:
        """Say what the current step is."""

    def share(self, share: float) -> None:
        """Say how much of it is done, from 0 to 1; of several steps that are one job, how many."""

    def done(self) -> None:
        """It has ended."""


class _Bar:
    """Steps as a bar. It is drawn when something happens and never by a timer, which would disturb timings."""

    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress, self._label, self._done = progress, label, 0
        self._task = progress.add_task(label, total=total)

    def name(self, current: str) -> None:
        self._update(description=f"{self._label}: {current}")

    def share(self, share: float) -> None:
        self._update(completed=self._done + share)

    def done(self) -> None:
        self._done += 1
        self._update(completed=self._done)

    def _update(self, **change: object) -> None:
        self._progress.update(self._task, **change)  # type: ignore[arg-type]
        self._progress.refresh()


class _Lines:
    """Steps as lines of a log: one for each that ends, and one now and then while it goes on."""

    def __init__(self, label: str, total: int, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._label, self._total, self._write, self._clock = label, total, write, clock
        self._done, self._current = 0, ""
        self._began = self._said = clock()

    def name(self, current: str) -> None:
        self._current = current

    def share(self, share: float) -> None:
        if self._clock() - self._said >= _PATIENCE:
            self._say(self._done + share)

    def done(self) -> None:
        self._done += 1
        self._say(self._done)

    def _say(self, completed: float) -> None:
        self._said = self._clock()
        elapsed = self._said - self._began
        left = elapsed / completed * (self._total - completed) if completed else None
        what = f": {self._current}" if self._current else ""
        rest = f", {duration(left)} left" if left is not None and completed < self._total else ""
        of = f"{100 * completed / self._total:.0f} %" if completed % 1 else f"{completed:.0f} of {self._total}"
        self._write(f"{self._label}, {of}{what}, after {duration(elapsed)}{rest}")

    def ended(self) -> None:
        """The block has ended: what is one job has not said so itself."""
        if self._done == 0 and self._total:
            self._write(f"{self._label}: done, after {duration(self._clock() - self._began)}")


class _Silence:
    """Steps that nobody is told of."""

    def name(self, current: str) -> None: ...

    def share(self, share: float) -> None: ...

    def done(self) -> None: ...


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


#: Whether nothing but warnings is told.
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Tell of warnings only, from the next reporter on."""
    global _quiet
    _quiet = quiet


class Reporter:
    """Says what goes on: in bars on a terminal, in lines elsewhere, nothing but warnings when it is to be quiet."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet, self._terminal = _quiet, sys.stderr.isatty()

    def say(self, text: str) -> None:
        if not self._quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", markup=False, soft_wrap=True)

    def _line(self, text: str) -> None:
        """A line for people, with the time where it goes into a log."""
        stamp = "" if self._terminal else f"{time.strftime('%H:%M:%S')} "
        self._console.print(f"{stamp}{text}", markup=False, soft_wrap=not self._terminal)

    @contextmanager
    def steps(self, label: str, total: int) -> Iterator[Steps]:
        """Steps of the block."""
        if self._quiet:
            yield _Silence()
        elif not self._terminal:
            lines = _Lines(label, total, self._line, time.monotonic)
            yield lines
            lines.ended()
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            with Progress(
                *columns, console=self._console, auto_refresh=False, speed_estimate_period=24 * 3600
            ) as progress:
                yield _Bar(progress, label, total)
