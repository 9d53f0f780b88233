"""The plan of a sweep, the same for every measure, and the stage that each measure implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

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
class Part:
    """A part of what a stage measures: certain files, or certain windows or batches; None for all of them. what: of windows whose scores are a device's, these or
    their times alone, since machines with a GPU and those that are timed may be different ones."""

    names: tuple[str, ...] | None = None
    indices: tuple[int, ...] | None = None
    what: Literal["all", "scores", "times"] = "all"

    def is_about(self, kind: str) -> bool:
        """Whether records of a kind are of what is measured."""
        return self.what == "all" or (kind == "times") == (self.what == "times")

    def has(self, *, name: str | None = None, index: int | None = None) -> bool:
        """Whether a file, a window or a batch belongs to it."""
        return (name is None or self.names is None or name in self.names) and (
            index is None or self.indices is None or index in self.indices
        )


@dataclass(frozen=True)
class Plan:
    """What is measured, and on what.

    names: of all files, the reference first; reference: its name; alone: files that are not compared with the reference token
    by token; stream: the scored text's tokens, of which `windows` windows are scored at most (Run.windows says how many by now); sitting: when the program was started. part: of all this, what
    is measured here.
    """

    work: Work
    names: tuple[str, ...]
    reference: str
    alone: frozenset[str]
    stream: Stream
    windows: int
    sitting: str
    part: Part = Part()

    def only(self, part: Part) -> Self:
        """The same for a part of it."""
        return replace(self, part=part)


@dataclass(frozen=True)
class Foreseen:
    """What a stage takes for each file. title: of the stage; tokens: that are decoded and scored, more where decoding is slower than usual; steps: that it counts."""

    title: str
    tokens: float
    steps: int


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


@runtime_checkable
class Divisible(Protocol):
    """A stage that several machines can share. Any other is measured whole, by one of them."""

    def parts(self, run: Run) -> Sequence[Part]:
        """What is not on record, in parts that can be measured in any order, at the same time."""


@runtime_checkable
class Looking(Protocol):
    """A stage in which what is measured depends on what came out."""

    def looked(self, store: RunStore) -> bool:
        """When all of it is measured, look at that and put on record what follows; returns whether there is such a thing."""


def parts_of(stage: Stage, run: Run) -> Sequence[Part]:
    """What of a stage is not on record, in parts."""
    if isinstance(stage, Divisible):
        return stage.parts(run)
    return [Part()] if stage.pending(run) else []
