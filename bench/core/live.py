"""Stages on a terminal: done, under way and to come, with one progress bar for all and the time left.

They are drawn when something happens, and otherwise only every few seconds: a drawing takes some milliseconds of a core, which
may be the core that is timed.
"""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.core.formats import duration, rough_duration
from bench.core.pace import Pace, Stage

#: Seconds between two drawings while nothing happens, and the least while much does.
_IDLE, _BUSY = 8.0, 0.5
#: Characters of a stage's bar, and of the bar of all.
_BAR, _WIDE_BAR = 20, 40


class Screen:
    """Draws a pace and the step under way until the block ends; what is done then stays on the screen."""

    def __init__(self, pace: Pace, console: Console) -> None:
        self._pace, self._step, self._drawn = pace, "", time.monotonic()
        self._live = Live(
            console=console,
            get_renderable=self._renderable,
            refresh_per_second=1 / _IDLE,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="visible",
        )

    def __enter__(self) -> Screen:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._step = ""
        self._live.stop()

    def show(self, step: str, *, at_once: bool = True) -> None:
        """Say what is being done. at_once: draw now, and not only if the last drawing was some time ago."""
        self._step = step
        if at_once or time.monotonic() - self._drawn >= _BUSY:
            self._drawn = time.monotonic()
            self._live.refresh()

    def _renderable(self) -> RenderableType:
        pace = self._pace
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")  # a name may be a file's, and long
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        for stage in pace.stages.values():
            grid.add_row(*self._row(stage))
        parts: list[RenderableType] = [grid]
        if len(pace.stages) > 1:
            parts.append(self._all())
        if self._step:
            parts.append(Text(self._step, style="dim"))
        return Group(*parts)

    def _row(self, stage: Stage) -> tuple[RenderableType, ...]:
        pace = self._pace
        left = pace.remaining(stage)
        about = "not forecast" if left is None else f"about {rough_duration(left)}"
        if stage.ended:
            return Text("✓", "green"), stage.name, duration(stage.elapsed), "", ""
        if stage is not pace.current and stage.share == 0:  # to come, or begun with what belongs to another one
            return " ", Text(stage.name, "dim"), "", "", Text(about, "dim")
        bar = ProgressBar(total=1.0, completed=stage.share, width=_BAR)
        rest = "" if left is None else f"{about} left"
        return Text("▸", "bold"), Text(stage.name, "bold"), duration(pace.elapsed(stage)), bar, rest

    def _all(self) -> RenderableType:
        pace = self._pace
        if pace.share == 1.0:
            return Text(f"Done after {duration(pace.total)}")
        left = pace.left
        said = f"{100 * pace.share:.0f} % after {duration(pace.total)}"
        if left is not None:
            said += f", about {rough_duration(left)} left"
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True)
        row.add_column(no_wrap=True)
        row.add_row(ProgressBar(total=1.0, completed=pace.share, width=_WIDE_BAR), said)
        more = pace.unknown
        return Group(row, Text(f"without {', '.join(more)}", "dim")) if more and left is not None else row
