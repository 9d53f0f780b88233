"""A run, read from its records.

records.jsonl holds one record a line. The first is the header, which identifies the run. Every later one carries the
header's id. Records hold raw values; perplexity, medians and intervals are derived from them by the measures, so that a
better statistic can be computed from an old run. Tables and plots read records and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.records.identity import FORMAT, Header, Identity
from bench.records.record import (
    FailureRecord,
    FileRecord,
    ImportanceRecord,
    LookRecord,
    OfFile,
    Record,
    SiteRecord,
    StageRecord,
)

FILE_NAME = "records.jsonl"

View = TypeVar("View")
Kind = TypeVar("Kind", bound=Record)
Held = TypeVar("Held", bound=OfFile)


@dataclass(frozen=True)
class Damaged:
    """A line of a record file that cannot be used. number: from 1; reason: what is wrong with it, in words; line: without its end;
    is_unknown: whether it is a record of a kind that another version of this program may know."""

    number: int
    reason: str
    line: bytes = field(repr=False)
    is_unknown: bool = False


@dataclass(frozen=True)
class Run:
    """A run, read from its records. If a thing has several records, the last one counts. A measure's records are read through its own view.

    directory: where it was read from, if it was; damaged: damaged lines of its record file, which are ignored.
    """

    header: Header
    records: tuple[Record, ...]
    directory: Path | None = field(default=None, compare=False)
    damaged: tuple[Damaged, ...] = field(default=(), compare=False)
    _views: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def identity(self) -> Identity:
        return self.header.identity

    @cached_property
    def looks(self) -> dict[int, LookRecord]:
        """Looks at intervals, by the number of windows. The last one counts: files may have been added."""
        return {r.windows: r for r in self.of(LookRecord)}

    @cached_property
    def windows(self) -> int:
        """Number of windows that every file has in the end, or must have by the next look."""
        steps = self.identity.looks
        return next((n for n in steps if n not in self.looks or self.looks[n].narrow), steps[-1])

    @cached_property
    def files(self) -> dict[str, FileRecord]:
        """Files by recipe name, the reference first, then in the order they were asked for.

        That is the order they were recorded in, unless one had to be built again.
        """
        found: dict[str, FileRecord] = {}
        asked: dict[str, None] = {}
        for r in self.records:
            if isinstance(r, FileRecord):
                found[r.recipe] = r
                asked.setdefault(r.recipe)
            elif isinstance(r, StageRecord):
                asked.update(dict.fromkeys(r.names))
        ordered = [found[name] for name in asked if name in found]
        return {f.recipe: f for f in sorted(ordered, key=lambda f: f.family != "Reference")}

    @cached_property
    def importance(self) -> ImportanceRecord | None:
        """Of the importance matrix that files were made with; None where there is none, and in runs of early versions."""
        made_with = {f.importance_sha256 for f in self.files.values()}
        return next((r for r in reversed(self.of(ImportanceRecord)) if r.sha256 in made_with), None)

    @cached_property
    def reference(self) -> str | None:
        """Name of the reference's file."""
        return next((name for name, f in self.files.items() if f.family == "Reference"), None)

    @cached_property
    def failures(self) -> list[FailureRecord]:
        """Failures that no later record settled."""
        last: dict[tuple[str, int | None], FailureRecord] = {}
        for r in self.records:
            if isinstance(r, FailureRecord):
                last[r.recipe, r.window] = r
            elif r.settles is not None:
                last.pop(r.settles, None)
        return list(last.values())

    def of(self, kind: type[Kind]) -> list[Kind]:
        """All records of a kind, in the order they were written."""
        return [r for r in self.records if isinstance(r, kind)]

    def current(self, kind: type[Held]) -> list[Held]:
        """Records of a kind that hold for the files as they are recorded now."""
        return [r for r in self.of(kind) if r.recipe in self.files and self.files[r.recipe].sha256 == r.sha256]

    def view(self, make: Callable[[Run], View]) -> View:
        """The result of `make` for this run, computed once."""
        if make not in self._views:
            self._views[make] = make(self)
        found: View = self._views[make]
        return found

    @classmethod
    def load(cls, directory: Path, kinds: Mapping[str, type[Record]]) -> Self:
        """Read a run. kinds: types of the records that measures keep, by their `kind`.

        A half-written last line is ignored. Any other damaged line loses only its own record. Raises BenchError for a file that
        is no record file, or that a later version of this program wrote.
        """
        path = directory / FILE_NAME if directory.is_dir() else directory
        if not path.is_file():
            raise BenchError(f"{path}: no such record file; name the directory of a run")
        try:
            *complete, _half_written = path.read_bytes().split(b"\n")
        except OSError as e:
            raise BenchError(f"{path}: cannot be read ({e.strerror}); check its permissions") from e
        types = {**_COMMON, **kinds}
        header = _parse(path, complete[0], types) if complete else None
        if isinstance(header, str) and complete[0].startswith(b'{"kind":"run"'):
            raise BenchError(
                f"{path}:1: the header of the run is damaged ({header}); without it the records cannot be told apart from another "
                "run's, so restore the first line from a copy"
            )
        if not isinstance(header, Header):
            raise BenchError(
                f"{path}: does not start with the header of a run{f' ({header})' if header else ''}; it is not a record file of this program"
            )
        records: dict[int, Record] = {}
        damaged: list[Damaged] = []
        for number, line in enumerate(complete[1:], 2):
            record = _parse(path, line, types)
            if isinstance(record, Header):
                raise BenchError(f"{path}:{number}: another run begins here; restore the file as it was written")
            if not isinstance(record, str) and record.run != header.id:
                record = "belongs to another run than the header"
            if not isinstance(record, str):
                record = record.misfit(header.identity) or record
            if isinstance(record, str):
                damaged.append(Damaged(number, record, line, is_unknown=record.startswith(_UNKNOWN)))
            else:
                records[number] = record
        for number, reason in _contradictions(records):
            del records[number]
            damaged.append(Damaged(number, reason, complete[number - 1]))
        damaged.sort(key=lambda d: d.number)
        if damaged and not records:
            raise BenchError(
                f"{path}: none of its records can be used (line {damaged[0].number}: {damaged[0].reason}); restore the file as it was written"
            )
        return cls(header, tuple(records.values()), path.parent, tuple(damaged))


def _contradictions(records: Mapping[int, Record]) -> list[tuple[int, str]]:
    """(line, what is wrong) of records whose tokens are not the reference's, though their values are held against each other."""
    of_reference = {r.recipe for r in records.values() if isinstance(r, FileRecord) and r.family == "Reference"}
    known: dict[int, Hashable] = {}
    for r in records.values():
        if isinstance(r, OfFile) and r.recipe in of_reference and (basis := r.basis):
            known[basis.part] = basis.tokens
    found = []
    for number, r in records.items():
        basis = r.basis
        if basis and basis.compared and known.get(basis.part, basis.tokens) != basis.tokens:
            found.append((number, f"its tokens of window {basis.part} are not those of the reference"))
    return found


#: What is wrong with a record of a later version of this program, perhaps.
_UNKNOWN = "this version of the program does not know the kind"

_COMMON: dict[str, type[Header | Record]] = {
    "run": Header,
    "file": FileRecord,
    "failure": FailureRecord,
    "stage": StageRecord,
    "look": LookRecord,
    "site": SiteRecord,
    "importance": ImportanceRecord,
}


def parsed(line: str, kinds: Mapping[str, type[Record]], identity: Identity) -> Record:
    """A record that came from another machine. Raises BenchError for one that is damaged or of another run."""
    found = _parse(Path("a site's answer"), line.encode(), {**_COMMON, **kinds})
    if isinstance(found, Header):
        found = "is the header of a run"
    if not isinstance(found, str):
        found = ("belongs to another run" if found.run != identity.id else found.misfit(identity)) or found
    if isinstance(found, str):
        raise BenchError(f"a site's answer cannot be used: {found}")
    return found


def _parse(path: Path, line: bytes, types: Mapping[str, type[Header | Record]]) -> Header | Record | str:
    """A line as a record, or what is wrong with it. Raises BenchError for one that a later version of this program wrote."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(data, dict):
        return "is no object"
    kind = data.get("kind")
    if kind == "run" and isinstance(form := data.get("format", FORMAT), int) and form > FORMAT:
        raise BenchError(f"{path}: has record format {form} and this program reads up to {FORMAT}; update the program")
    if not isinstance(kind, str) or kind not in types:
        return f"{_UNKNOWN} {str(kind)[:40]!r}"
    try:
        return types[kind].model_validate(data)
    except (ValidationError, RecursionError) as e:
        if isinstance(e, RecursionError):
            return "is nested too deeply"
        first = e.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:6]) or "record"
        return f"{where}: {first['msg'][:200]}"
