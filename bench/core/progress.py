"""Progress on standard error: with time left, on a terminal only. Standard output is for results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Steps:
    """A bar of equal steps, of which the current one may be partly done."""

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


class Reporter:
    """Says what goes on. Quiet when standard error is no terminal, except for warnings."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._shown = sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self._shown:
            self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", markup=False, soft_wrap=True)

    @contextmanager
    def steps(self, label: str, total: int) -> Iterator[Steps]:
        """A bar for the block. It is drawn when something happens and never by a timer, which would disturb timings."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns,
            console=self._console,
            auto_refresh=False,
            speed_estimate_period=24 * 3600,
            disable=not self._shown,
        ) as progress:
            yield Steps(progress, label, total)
