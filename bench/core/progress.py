"""Progress on standard error, with time left: one live display on a terminal (live.py), lines with a time stamp in a log.

Standard output is for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from bench.core.formats import duration, in_one_line, rough_duration
from bench.core.live import Screen
from bench.core.pace import Expected, Pace, Stage

#: Seconds after which a step that goes on says so in a log.
_PATIENCE = 30.0


class Steps(Protocol):
    """Equal steps, of which the current one may be partly done."""

    def name(self, current: str) -> None:
        """Say what the current step is."""

    def share(self, share: float) -> None:
        """Say how much of it is done, from 0 to 1; of several steps that are one job, how many."""

    def done(self, steps: int = 1) -> None:
        """It has ended, or so many that are one job."""


class _Lines:
    """Steps as lines of a log: one for each that ends, and one now and then while it goes on."""

    def __init__(
        self,
        label: str,
        total: int,
        write: Callable[[str], None],
        clock: Callable[[], float],
        of_all: Callable[[], str] = lambda: "",
        most: Callable[[], float | None] = lambda: None,
    ) -> None:
        """of_all: what is left of all that these steps are a part of, told at the end of a line; most: the same in seconds, None where it
        is not known. Steps that are not alike seem to have more left than all: then only the latter is told."""
        self._label, self._total, self._write, self._clock = label, total, write, clock
        self._of_all, self._most = of_all, most
        self._done, self._told, self._current = 0, 0.0, ""
        self._began = self._said = clock()

    def name(self, current: str) -> None:
        self._current = current

    def share(self, share: float) -> None:
        if self._clock() - self._said >= _PATIENCE:
            self._say(self._done + share)

    def done(self, steps: int = 1) -> None:
        self._done += steps
        if self._done != self._told:  # while it went on, its last word may have been that it is done
            self._say(self._done)

    def _say(self, completed: float) -> None:
        self._said, self._told = self._clock(), completed
        elapsed = self._said - self._began
        left = elapsed / completed * (self._total - completed) if completed else None
        if left is not None and (most := self._most()) is not None and left > most:
            left = None
        what = f": {self._current}" if self._current else ""
        rest = f", {duration(left)} left" if left is not None and completed < self._total else ""
        of = f"{100 * completed / self._total:.0f} %" if completed % 1 else f"{completed:.0f} of {self._total}"
        self._write(f"{self._label}, {of}{what}, after {duration(elapsed)}{rest}{self._of_all()}")

    def ended(self) -> None:
        """The block has ended: what is one job has not said so itself."""
        if self._done == 0 and self._total:
            self._write(f"{self._label}: done, after {duration(self._clock() - self._began)}")


class _Silence:
    """Steps that nobody is told of."""

    def name(self, current: str) -> None: ...

    def share(self, share: float) -> None: ...

    def done(self, steps: int = 1) -> None: ...


#: Whether nothing but warnings is told.
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Tell of warnings only, from the next reporter on."""
    global _quiet
    _quiet = quiet


class _Block:
    """Steps of a stage, or of a step of it: what the display and the log are told of."""

    def __init__(
        self, label: str, total: int, stage: Stage | None, lines: _Lines | None, moved: Callable[[bool], None]
    ) -> None:
        self.label, self.total, self.stage, self.lines, self._moved = label, total, stage, lines, moved
        self.finished, self.part, self.current = 0, 0.0, ""

    def name(self, current: str) -> None:
        self.current = current
        if self.lines:
            self.lines.name(current)
        self._moved(True)

    def share(self, share: float) -> None:
        self.part = share
        self._moved(False)
        if self.lines:
            self.lines.share(share)

    def done(self, steps: int = 1) -> None:
        self.finished, self.part = self.finished + steps, 0.0
        self._moved(True)
        if self.lines:
            self.lines.done(steps)

    def reached(self, inner: float) -> float:
        """What of the block is done. inner: what is done of a block within its current step."""
        return min((self.finished + max(self.part, inner)) / self.total, 1.0) if self.total else 0.0

    @property
    def text(self) -> str:
        at = min(self.finished + max(int(self.part), 1), self.total)
        count = f", {at} of {self.total}" if self.total > 1 else ""
        return f"{self.label}{count}" + (f": {self.current}" if self.current else "")


class Reporter:
    """Says what goes on: in a live display on a terminal, in lines elsewhere, nothing but warnings when it is to be quiet."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._quiet, self._terminal = _quiet, sys.stderr.isatty()
        self._pace: Pace | None = None
        self._screen: Screen | None = None
        self._blocks: list[_Block] = []
        self._told: set[str] = set()  # stages whose last step has been told in a log

    @property
    def width(self) -> int | None:
        """Characters in a line of the terminal; None for a log."""
        return self._console.width if self._terminal else None

    def say(self, text: str) -> None:
        if not self._quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {in_one_line(text)}", markup=False, soft_wrap=not self._terminal)

    def _line(self, text: str) -> None:
        """A line for people, with the time where it goes into a log."""
        stamp = "" if self._terminal else f"{time.strftime('%H:%M:%S')} "
        self._console.print(f"{stamp}{text}", markup=False, soft_wrap=not self._terminal)

    @contextmanager
    def stages(self, expected: Mapping[str, Expected]) -> Iterator[None]:
        """What the block consists of, in order, by name, and what each is expected to take."""
        if self._quiet:
            yield
            return
        self._pace = pace = Pace(expected)
        self._told.clear()
        try:
            if self._terminal:
                with Screen(pace, self._console) as self._screen:
                    yield
            else:
                yield
        finally:
            self._pace = self._screen = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One of the stages. Within another one its time is its own. A name that is none of them is told nowhere."""
        pace = self._pace
        if pace is None or name not in pace.stages:
            yield
            return
        stage = pace.stages[name]
        again = stage.ended  # it was told before, and what it is entered for now is there
        pace.begin(name)
        whole = False
        try:
            yield
            whole = True
        finally:
            pace.end(whole=whole)
        if not self._terminal and stage.worked and not again and name not in self._told:
            self._line(f"{name}: done, after {duration(stage.elapsed)}{self._of_all()}")
        self._show("", at_once=True)

    @contextmanager
    def steps(self, label: str, total: int) -> Iterator[Steps]:
        """Steps of the block, which may be a step of others."""
        if self._quiet:
            yield _Silence()
            return
        if self._terminal and self._pace is None:  # a display of its own
            with self.stages({label: Expected()}), self.stage(label), self.steps(label, total) as steps:
                yield steps
            return
        stage = self._pace.current if self._pace else None
        lines = (
            None
            if self._terminal
            else _Lines(label, total, self._line, time.monotonic, self._of_all, self._left_of_all)
        )
        block = _Block(label, total, stage, lines, self._moved)
        if self._pace and not any(b.stage is stage for b in self._blocks):
            self._pace.of(total)
        self._blocks.append(block)
        try:
            self._moved(True)
            yield block
        finally:
            self._blocks.pop()
        if lines and stage is None:
            lines.ended()
        elif stage and lines and block.finished == total and not any(b.stage is stage for b in self._blocks):
            self._told.add(stage.name)

    def _moved(self, at_once: bool) -> None:
        """A block has changed."""
        if self._pace is None or not self._blocks:
            return
        share = 0.0
        for block in reversed(self._blocks):
            if block.stage is self._pace.current:
                share = block.reached(share)
        self._pace.reach(share)
        text = self._blocks[-1].text
        alone = self._pace.current is not None and text == self._pace.current.name
        self._show("" if alone else text, at_once=at_once)

    def _show(self, step: str, *, at_once: bool) -> None:
        if self._screen:
            self._screen.show(step, at_once=at_once)

    def _left_of_all(self) -> float | None:
        """Seconds that all stages have left, where none of them is unknown and others are to come."""
        pace = self._pace
        if pace is None or pace.unknown or all(s.ended or s is pace.current for s in pace.stages.values()):
            return None
        return pace.left

    def _of_all(self) -> str:
        """What is left of all stages, as the end of a line of a log."""
        pace = self._pace
        if pace is None or not (left := pace.left):
            return ""
        if all(s.ended or s is pace.current for s in pace.stages.values()):
            return ""  # which the line itself says
        without = f" without {', '.join(pace.unknown)}" if pace.unknown else ""
        return f"; in all about {rough_duration(left)} left{without}"
