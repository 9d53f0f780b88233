"""What is kept of windows."""

from __future__ import annotations

from typing import Literal

from bench.measures.windows.jobs import WindowResult
from bench.records.identity import Kept
from bench.records.record import OfFile, Record


class Rows(Kept):
    """Where the values of a window's tokens stand apart (apart.py): rows of a table, and what indices of kinds stand for."""

    first: int
    count: int
    kind_names: tuple[str, ...]


class WindowRecord(OfFile):
    """One window of one recipe.

    isa: what the library of the measuring process reported; cpus: the CPUs it was pinned to; load: the machine's load
    average over the minute before, None where there is none; sitting: when the program was started that measured it.
    Timings of one window compare within a sitting only. apart: of a published run, where the values of its tokens are.
    """

    kind: Literal["window"] = "window"
    result: WindowResult
    isa: str
    cpu: str
    threads: int
    cpus: tuple[int, ...]
    load: float | None
    sitting: str = ""
    apart: Rows | None = None

    @property
    def settles(self) -> tuple[str, int | None]:
        return self.recipe, self.result.window


class FloorRecord(Record):
    """One window of the reference against itself with other settings: what rounding alone does to the figures.

    threads, ubatch: what differed from the run's settings.
    """

    kind: Literal["floor"] = "floor"
    threads: int
    ubatch: int
    result: WindowResult
    apart: Rows | None = None


class ExcerptRecord(Record):
    """The text of the scored tokens of one window, for pages that show where files differ: of the fixed prompts only.

    pieces: what each token spells, in the text's order; kinds: (kind of prompt, number of tokens) one after the other.
    """

    kind: Literal["excerpt"] = "excerpt"
    window: int
    pieces: tuple[str, ...]
    kinds: tuple[tuple[str, int], ...]
