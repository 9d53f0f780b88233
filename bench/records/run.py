"""Records of a run, and the one append-only file that keeps them.

records.jsonl holds one record a line. The first is the header: what identifies the run. Every later one carries the
header's id. Records hold raw values; perplexity, medians and intervals are derived from them (stats.py), so that a
better statistic can be computed from an old run. Tables and plots read records and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bench.core.errors import BenchError
from bench.core.machine import Machine
from bench.execute.jobs import LibraryInfo, PropagationResult, Settings, WindowResult
from bench.measures.problems.jobs import Completion, ProblemResult

#: Version of the record format. 1: first.
FORMAT = 1
FILE_NAME = "records.jsonl"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class ModelIdentity(_Frozen):
    name: str
    sha256: str
    architecture: str
    n_layers: int
    n_weights: int
    description: str | None


class TextIdentity(_Frozen):
    name: str
    sha256: str


class ImportanceIdentity(_Frozen):
    """Where importance data comes from: collected from a calibration text, or a file of the user's, both by hash."""

    source: Literal["collected", "file"]
    name: str
    sha256: str
    chunks: int | None


class Identity(_Frozen):
    """What must be equal for two runs' figures to compare."""

    model: ModelIdentity
    prompts: TextIdentity
    importance: ImportanceIdentity | None
    windows: int
    settings: Settings
    library: LibraryInfo
    machine: Machine

    @property
    def id(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def differences(self, other: Identity) -> list[str]:
        """`field is A here and B there` for every field that differs."""
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        return [
            f"{k} is {mine.get(k)} in one and {theirs.get(k)} in the other"
            for k in mine | theirs
            if mine.get(k) != theirs.get(k)
        ]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}


class Header(_Frozen):
    kind: Literal["run"] = "run"
    format: int = FORMAT
    id: str
    identity: Identity
    versions: dict[str, str]
    started: str = Field(default_factory=utc_now)


class _Record(_Frozen):
    run: str
    time: str = Field(default_factory=utc_now)


class ChoiceRecord(_Frozen):
    """How the types of a recipe with a size were chosen (choose.py). limit: bytes allowed; against: the recipe whose size
    that is, or of which this is a random control; text: the name of what it was chosen on; the rest of the assignment that was best on calibration text, None for one
    at random: what its predictions were made with, predicted and measured mean KL divergence in nats, relative distance of
    the prediction from the optimum at most, number of assignments that were tried."""

    limit: int
    against: str | None
    text: str = ""
    prediction: str | None = None
    predicted_kl: float | None = None
    calibration_kl: float | None = None
    gap: float | None = None
    tried: int = 0


class FileRecord(_Record):
    """A model file of the run. family: Reference, Standard or that of a recipe file; base: what pairs the families.

    bits_per_weight: 8 x bytes of tensors / weights; types: of every tensor; replaced: {tensor: (type asked, type stored)};
    importance_sha256: of the importance matrix file it was built with, if any; rules: fingerprint of the recipe.
    origin: where a file came from that was not built here; told: what its header says of its making; perplexity_only: why it is not
    compared with the reference token by token.
    """

    kind: Literal["file"] = "file"
    recipe: str
    family: str
    base: str
    description: str
    sha256: str
    n_bytes: int
    bits_per_weight: float
    weights_by_type: dict[str, int]
    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]
    importance_sha256: str | None
    build_seconds: float | None
    build_memory_bytes: int | None
    rules: str | None = None
    choice: ChoiceRecord | None = None
    origin: str | None = None
    told: dict[str, str] = {}
    perplexity_only: str | None = None


class WindowRecord(_Record):
    """One window of one recipe.

    isa: what the library of the measuring process reported; cpus: the CPUs it was pinned to; load: the machine's load
    average over the minute before, None where there is none; sitting: when the program was started that measured it.
    Timings of one window compare within a sitting only.
    """

    kind: Literal["window"] = "window"
    recipe: str
    sha256: str
    result: WindowResult
    isa: str
    cpu: str
    threads: int
    cpus: tuple[int, ...]
    load: float | None
    sitting: str = ""


class FloorRecord(_Record):
    """One window of the reference against itself with other settings: what rounding alone does to the figures.

    threads, ubatch: what differed from the run's settings.
    """

    kind: Literal["floor"] = "floor"
    threads: int
    ubatch: int
    result: WindowResult


class PropagationRecord(_Record):
    """How far a recipe's hidden states are from the reference's in one window. tokens: of the window's beginning."""

    kind: Literal["propagation"] = "propagation"
    recipe: str
    sha256: str
    tokens: int
    result: PropagationResult


class ProblemSetIdentity(_Frozen):
    """What figures of problems belong to. name, sha256: of the set; key: of the set as the model reads it, template and all."""

    name: str
    problem_kind: Literal["fim", "chat"]
    sha256: str
    assistant_only: bool
    key: str


class ProblemRecord(_Record):
    """A batch of problems of one recipe. batches: of the whole set; records of an early version lack it."""

    kind: Literal["problems"] = "problems"
    recipe: str
    sha256: str
    problem_set: ProblemSetIdentity
    batch: int
    batches: int | None = None
    results: tuple[ProblemResult, ...]


class SampleRecord(_Record):
    """What a recipe writes after prompts, always the likeliest token. prompts: (name, text) of each; limit: in tokens."""

    kind: Literal["sample"] = "sample"
    recipe: str
    sha256: str
    prompts: tuple[tuple[str, str], ...]
    limit: int
    completions: tuple[Completion, ...]


class FailureRecord(_Record):
    """A measurement that failed. window: None when the recipe's file could not be built."""

    kind: Literal["failure"] = "failure"
    recipe: str
    window: int | None
    reason: str


Record = FileRecord | WindowRecord | FloorRecord | PropagationRecord | ProblemRecord | SampleRecord | FailureRecord
_any_record: TypeAdapter[Header | Record] = TypeAdapter(Annotated[Header | Record, Field(discriminator="kind")])


@dataclass(frozen=True)
class Run:
    """A run as its records tell it. The last record of a thing counts."""

    header: Header
    records: tuple[Record, ...]

    @property
    def identity(self) -> Identity:
        return self.header.identity

    @cached_property
    def files(self) -> dict[str, FileRecord]:
        """Files by recipe name, the reference first, then in the order they were recorded."""
        found = {r.recipe: r for r in self.records if isinstance(r, FileRecord)}
        return dict(sorted(found.items(), key=lambda item: item[1].family != "Reference"))

    @cached_property
    def windows(self) -> dict[str, dict[int, WindowRecord]]:
        """Window records by recipe and window, of the files as they are recorded now."""
        found: dict[str, dict[int, WindowRecord]] = {name: {} for name in self.files}
        for r in self.records:
            if isinstance(r, WindowRecord) and r.recipe in found and self.files[r.recipe].sha256 == r.sha256:
                found[r.recipe][r.result.window] = r
        return {name: dict(sorted(by_window.items())) for name, by_window in found.items()}

    @cached_property
    def failures(self) -> list[FailureRecord]:
        """Failures that were not made good since."""
        last: dict[tuple[str, int | None], FailureRecord] = {}
        for r in self.records:
            if isinstance(r, FailureRecord):
                last[r.recipe, r.window] = r
            elif isinstance(r, FileRecord):
                last.pop((r.recipe, None), None)
            elif isinstance(r, WindowRecord):
                last.pop((r.recipe, r.result.window), None)
        return list(last.values())

    @cached_property
    def reference(self) -> str | None:
        """Name of the reference's file."""
        return next((name for name, f in self.files.items() if f.family == "Reference"), None)

    @cached_property
    def floor(self) -> FloorRecord | None:
        return next((r for r in reversed(self.records) if isinstance(r, FloorRecord)), None)

    @cached_property
    def propagation(self) -> dict[str, dict[int, PropagationResult]]:
        """Errors of hidden states by recipe and window, of the files as they are recorded now."""
        found: dict[str, dict[int, PropagationResult]] = {name: {} for name in self.files}
        for r in self.records:
            if isinstance(r, PropagationRecord) and r.recipe in found and self.files[r.recipe].sha256 == r.sha256:
                found[r.recipe][r.result.window] = r.result
        return {name: dict(sorted(by_window.items())) for name, by_window in found.items()}

    @cached_property
    def problem_sets(self) -> list[ProblemSetIdentity]:
        """Sets of problems on record, in the order they were first scored; of one asked in several ways the last."""
        sets = [r.problem_set for r in self.records if isinstance(r, ProblemRecord)]
        last = {(p.name, p.assistant_only): p for p in sets}
        return list({p.key: p for p in last.values()}.values())

    def problems(self, key: str) -> dict[str, dict[int, ProblemRecord]]:
        """Records of a set of problems by recipe and batch, of the files as they are recorded now."""
        found: dict[str, dict[int, ProblemRecord]] = {name: {} for name in self.files}
        of_set = (r for r in self.records if isinstance(r, ProblemRecord) and r.problem_set.key == key)
        for r in of_set:
            if r.recipe in found and self.files[r.recipe].sha256 == r.sha256:
                found[r.recipe][r.batch] = r
        return {name: dict(sorted(batches.items())) for name, batches in found.items()}

    @cached_property
    def samples(self) -> dict[str, SampleRecord]:
        """Samples by recipe, of the prompts that were asked last."""
        last = next((r for r in reversed(self.records) if isinstance(r, SampleRecord)), None)
        return self.samples_of(last.prompts, last.limit) if last else {}

    def samples_of(self, prompts: tuple[tuple[str, str], ...], limit: int) -> dict[str, SampleRecord]:
        """Samples of these prompts by recipe, of the files as they are recorded now."""
        asked = (r for r in self.records if isinstance(r, SampleRecord) and (r.prompts, r.limit) == (prompts, limit))
        found = {(r.recipe, r.sha256): r for r in asked}
        return {n: found[n, f.sha256] for n, f in self.files.items() if (n, f.sha256) in found}

    def results(self, recipe: str | None) -> list[WindowResult] | None:
        """The recipe's windows if it has all of them: figures over fewer windows would not compare."""
        found = [w.result for w in self.windows.get(recipe or "", {}).values()]
        return found if found and len(found) == self.identity.windows else None

    def same_sitting(self, a: str, b: str) -> tuple[list[WindowResult], list[WindowResult]]:
        """Windows of two recipes that were measured in the same pass of the same sitting, whose times compare."""
        both = [
            (x.result, y.result)
            for w, x in self.windows[a].items()
            if (y := self.windows[b].get(w)) is not None and x.sitting == y.sitting
        ]
        return [x for x, _ in both], [y for _, y in both]

    @property
    def is_complete(self) -> bool:
        return (
            bool(self.files)
            and not self.failures
            and all(len(w) == self.identity.windows for w in self.windows.values())
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read a run. A half-written last line is passed over. Raises BenchError for a file that is no record file."""
        path = directory / FILE_NAME if directory.is_dir() else directory
        if not path.is_file():
            raise BenchError(f"{path}: no such record file; name the directory of a run")
        *complete, _half_written = path.read_bytes().split(b"\n")
        parsed = [_parse(path, number, line) for number, line in enumerate(complete, 1)]
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
        return cls(header, tuple(records))


def _parse(path: Path, number: int, line: bytes) -> Header | Record:
    try:
        data = json.loads(line)
    except ValueError as e:
        raise BenchError(
            f"{path}:{number}: is not JSON; it is not a record file of this program, or was edited by hand"
        ) from e
    if isinstance(data, dict) and data.get("kind") == "run" and data.get("format", FORMAT) > FORMAT:
        raise BenchError(
            f"{path}: has record format {data['format']} and this program reads up to {FORMAT}; update the program"
        )
    try:
        return _any_record.validate_python(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "record"
        raise BenchError(f"{path}:{number}: is not a record of this program ({where}: {first['msg']})") from e


class RunStore:
    """The record file of a run, open for appending by one process at a time. Use as a context manager.

    Raises BenchError when the directory cannot be written, another process has it open, or it holds another run.
    """

    def __init__(self, directory: Path, identity: Identity, versions: dict[str, str]) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self._lock = FileLock(directory / ".lock")
        self._identity, self._versions = identity, versions
        #: What was mended when the file was opened, to be told to the user.
        self.repaired: str | None = None

    def __enter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as e:
            raise BenchError(
                f"{self.directory}: another run is writing here; wait for it, or choose another directory with --out"
            ) from e
        except OSError as e:
            raise BenchError(
                f"{self.directory}: cannot be written ({e.strerror}); choose another directory with --out"
            ) from e
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _open(self) -> None:
        """Read what is there; only a file that is this run's own is written to."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            self._append_header()
        data = self.path.read_bytes()
        complete = data.rfind(b"\n") + 1
        if complete == 0 and data.startswith(b'{"kind":"run"'):
            os.truncate(self.path, 0)
            self._append_header()
        self.run = Run.load(self.directory)
        if self.run.identity.id != self._identity.id:
            different = self.run.identity.differences(self._identity)
            raise BenchError(
                f"{self.directory}: holds another run: {'; '.join(different[:3])}; choose another directory with --out"
            )
        if complete < len(data):
            if complete:
                os.truncate(self.path, complete)
            self.repaired = (
                f"{self.path}: the last line was only half written and was removed; what it measured is measured again"
            )

    def _append_header(self) -> None:
        self._append_line(Header(id=self._identity.id, identity=self._identity, versions=self._versions))

    def _append_line(self, record: Header | Record) -> None:
        try:
            with self.path.open("ab") as f:
                f.write(record.model_dump_json().encode() + b"\n")
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            raise BenchError(
                f"{self.path}: cannot be written ({e.strerror}); free some space or check its permissions, then run again"
            ) from e

    def append(self, record: Record) -> None:
        """Put a record on disk; it counts once this returns."""
        self._append_line(record)
        self.run = Run(self.run.header, (*self.run.records, record))


def newest_time(records: Iterable[Record]) -> str:
    """UTC time of the latest record."""
    return max((r.time for r in records), default="")
