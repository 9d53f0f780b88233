"""The plan of a sweep, the same for every measure, and the stage that each measure implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.execute.content import Content
from bench.records.run import Run
from bench.records.store import RunStore
from bench.workbench.kept import Stream
from bench.workbench.work import Work


@dataclass(frozen=True)
class File:
    """A model file that is measured: where it lies here, and what jobs name it by."""

    path: Path
    content: Content


@dataclass(frozen=True)
class Plan:
    """What is measured, and on what.

    names: of all files, the reference first; reference: its name; alone: files that are not compared with the reference token
    by token; stream: the scored text's tokens, of which `windows` windows are scored at most (Run.windows says how many by now); sitting: when the program was started.
    """

    work: Work
    names: tuple[str, ...]
    reference: str
    alone: frozenset[str]
    stream: Stream
    windows: int
    sitting: str


class Stage(Protocol):
    """What a measure does in a sweep, for one plan."""

    @property
    def title(self) -> str:
        """What is going on, for people and for the records of stages."""

    def pending(self, run: Run) -> set[str]:
        """Names of the files of which something that is asked for is not on record."""

    def progress(self, run: Run) -> tuple[int, int]:
        """How many measurements are on record, and how many there are to be."""

    def check_room(self) -> None:
        """Raise BenchError where memory or disk cannot hold what measuring takes, before anything is built. Scratch files
        have their directory by then."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Measure what is not on record, and put each measurement there before the next begins.

        files: those that there are, the reference's among them. What costs one measurement is told and goes on record as
        failed, or stays pending. Raises BenchError for what makes the whole measure impossible: it is told, and ends the run
        where the measure is essential. Raises RecordsError where nothing can be kept, which ends any run.
        """
