"""A run as its records tell it.

records.jsonl holds one record a line. The first is the header: what identifies the run. Every later one carries the
header's id. Records hold raw values; perplexity, medians and intervals are derived from them by the measures, so that a
better statistic can be computed from an old run. Tables and plots read records and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from bench.core.errors import BenchError
from bench.records.identity import FORMAT, Header, Identity
from bench.records.record import FailureRecord, FileRecord, LookRecord, OfFile, Record, StageRecord

FILE_NAME = "records.jsonl"

View = TypeVar("View")
Kind = TypeVar("Kind", bound=Record)
Held = TypeVar("Held", bound=OfFile)


@dataclass(frozen=True)
class Run:
    """A run as its records tell it. The last record of a thing counts. What a measure keeps is read through its own view.

    directory: where it was read from, if it was.
    """

    header: Header
    records: tuple[Record, ...]
    directory: Path | None = field(default=None, compare=False)
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
        """How many windows every file has in the end, or is to have by the next look."""
        steps = self.identity.looks
        return next((n for n in steps if n not in self.looks or self.looks[n].narrow), steps[-1])

    @cached_property
    def files(self) -> dict[str, FileRecord]:
        """Files by recipe name, the reference first, then in the order they were recorded."""
        found = {r.recipe: r for r in self.records if isinstance(r, FileRecord)}
        return dict(sorted(found.items(), key=lambda item: item[1].family != "Reference"))

    @cached_property
    def reference(self) -> str | None:
        """Name of the reference's file."""
        return next((name for name, f in self.files.items() if f.family == "Reference"), None)

    @cached_property
    def failures(self) -> list[FailureRecord]:
        """Failures that were not made good since."""
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
        """What `make` derives from this run, derived once."""
        if make not in self._views:
            self._views[make] = make(self)
        found: View = self._views[make]
        return found

    @classmethod
    def load(cls, directory: Path, kinds: Mapping[str, type[Record]]) -> Self:
        """Read a run. kinds: types of the records that measures keep, by their `kind`. A half-written last line is passed over. Raises BenchError for a file that is no record file."""
        path = directory / FILE_NAME if directory.is_dir() else directory
        if not path.is_file():
            raise BenchError(f"{path}: no such record file; name the directory of a run")
        *complete, _half_written = path.read_bytes().split(b"\n")
        types = {**_COMMON, **kinds}
        parsed = [_parse(path, number, line, types) for number, line in enumerate(complete, 1)]
        if not parsed or not isinstance(header := parsed[0], Header):
            raise BenchError(
                f"{path}: does not start with the header of a run; it is not a record file of this program"
            )
        records: list[Record] = []
        for number, record in enumerate(parsed[1:], 2):
            if isinstance(record, Header) or record.run != header.id:
                raise BenchError(
                    f"{path}:{number}: belongs to another run than the file's header; restore the file as it was written"
                )
            records.append(record)
        return cls(header, tuple(records), path.parent)


_COMMON: dict[str, type[Header | Record]] = {
    "run": Header,
    "file": FileRecord,
    "failure": FailureRecord,
    "stage": StageRecord,
    "look": LookRecord,
}


def _parse(path: Path, number: int, line: bytes, types: Mapping[str, type[Header | Record]]) -> Header | Record:
    try:
        data = json.loads(line)
    except ValueError as e:
        raise BenchError(
            f"{path}:{number}: is not JSON; it is not a record file of this program, or was edited by hand"
        ) from e
    if not isinstance(data, dict):
        raise BenchError(f"{path}:{number}: is not a record of this program (record: it is no object)")
    kind = str(data.get("kind"))
    if kind == "run" and data.get("format", FORMAT) > FORMAT:
        raise BenchError(
            f"{path}: has record format {data['format']} and this program reads up to {FORMAT}; update the program"
        )
    if kind not in types:
        raise BenchError(
            f"{path}:{number}: is not a record of this program (kind: {kind!r} is none of {', '.join(types)}); update the program"
        )
    try:
        return types[kind].model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise BenchError(f"{path}:{number}: is not a record of this program ({where}: {first['msg']})") from e
