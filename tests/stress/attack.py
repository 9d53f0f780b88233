"""What a subject of the stress test is, and what comes of it."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Protocol

from tests.stress import subjects
from tests.stress.commands import Ended


@dataclass(frozen=True)
class Fault:
    """Something that may not happen. kind: few words, counted and published; detail: for whoever mends it."""

    kind: str
    detail: str


@dataclass(frozen=True)
class Tried:
    """What came of one hostile thing: the commands it was given to, and what went wrong (for a command, Ended.fault is counted
    without being named here)."""

    commands: tuple[Ended, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def all_faults(self) -> tuple[Fault, ...]:
        of_commands = (Fault(c.fault, f"{' '.join(c.arguments)}\n{c.err[-3000:]}") for c in self.commands if c.fault)
        return (*of_commands, *self.faults)


#: Does one hostile thing, which depends on the generator alone, in an empty folder.
Attack = Callable[[random.Random, Path], Tried]


@dataclass(frozen=True)
class Each:
    """An attack for each of some things, numbered from 0. kinds: what each is alike to.

    Each comes once, in an order that the seed decides: first one of every kind, then a second one, so that few tries see many kinds.
    """

    kinds: Sequence[str]
    one: Callable[[int, random.Random, Path], Tried]

    def in_order_of(self, seed: int, name: str) -> list[Attack]:
        numbers = list(range(len(self.kinds)))
        random.Random(f"{seed} {name}").shuffle(numbers)
        seen: Counter[str] = Counter()
        turns = []
        for number in numbers:
            turns.append((seen[self.kinds[number]], number))
            seen[self.kinds[number]] += 1
        return [partial(self.one, number) for _, number in sorted(turns, key=lambda turn: turn[0])]


class Subject(Protocol):
    """What a module in subjects/ offers.

    ABOUT: one line, for --help and the published page; UNIT: what its tries are, in the plural ("model files"); GOAL: how many
    tries a published run has, if there are so many; prepare: makes what all tries need, in a folder that stays until the last.
    """

    ABOUT: str
    UNIT: str
    GOAL: int

    def prepare(self, folder: Path) -> Attack | Each: ...


@dataclass
class Count:
    """What came of a subject's tries. told: commands that ended with an error of a line or a few; worked: with code 0."""

    tries: int = 0
    commands: int = 0
    worked: int = 0
    told: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, tried: Tried) -> None:
        self.tries += 1
        self.commands += len(tried.commands)
        self.worked += sum(c.code == 0 for c in tried.commands)
        self.told += sum(bool(c.code) and c.fault is None for c in tried.commands)
        self.faults.update(f.kind for f in tried.all_faults)

    def __add__(self, other: Count) -> Count:
        return Count(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def names() -> list[str]:
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(subjects.__path__))


def subject(name: str) -> Subject:
    return importlib.import_module(f"{subjects.__name__}.{name.replace('-', '_')}")  # type: ignore[return-value]


def generator(seed: int, name: str, index: int) -> random.Random:
    """Random numbers of one try: the same whatever was tried before it, so that a try can be repeated alone."""
    return random.Random(f"{seed} {name} {index}")


def indices(first: int, goal: int | None) -> Iterator[int]:
    index = first
    while goal is None or index < first + goal:
        yield index
        index += 1


def chosen(wanted: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """Names of the subjects that are asked for: all but some if none is. Ends the program for a name that is none."""
    known = names()
    for name in (*wanted, *without):
        if name not in known:
            raise SystemExit(f"error: {name}: no such subject; there are {', '.join(known)}")
    return [name for name in wanted or known if name not in without]
