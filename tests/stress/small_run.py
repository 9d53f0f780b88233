"""A run that takes seconds, and how another is held against it: what is attacked here may cost time, and nothing else."""

from __future__ import annotations

import csv
import importlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.files import file_sha256
from bench.measures.registry import record_types
from bench.measures.windows.runs import windows_of
from bench.records.record import FailureRecord, StageRecord
from bench.records.run import FILE_NAME, Run
from tests.stress.attack import Fault
from tests.stress.commands import Ended, run
from tests.support.tiny import Shape, write_model, write_text

#: Fields of records that differ from run to run.
_OF_THE_MOMENT = frozenset({
    "time", "run", "sitting", "seconds", "activity", "generate_seconds", "load_seconds", "peak_memory_bytes", "scoring_seconds",
    "steps", "generate_steps", "pieces", "energy",
    "load", "build_seconds", "build_memory_bytes",
})  # fmt: skip
#: What takes a run seconds to import, and a process that is forked from this one nothing.
_HEAVY = (
    "bench.sweep.sweep", "bench.present.output", "bench.present.plots", "bench.present.pages.report", "bench.cli.shown", "bench.cli.table",
    "matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "textalloc", "pytest_benchmark", "scipy.stats",
)  # fmt: skip
#: Times that a command is given again until everything is on record.
_AGAIN = 4


@dataclass(frozen=True)
class SmallRun:
    """A run, in folders `run` and `cache` of whatever folder it is made in, unless it is told of another cache."""

    model: Path
    text: Path
    calibration: Path

    @classmethod
    def prepare(cls, folder: Path) -> SmallRun:
        for module in _HEAVY:
            importlib.import_module(module)
        model = write_model(folder / "tiny.gguf", Shape(layers=1))
        return cls(model, write_text(folder / "words.txt", 400), write_text(folder / "more.txt", 1200, seed=7))

    def arguments(self, folder: Path, cache: Path | None = None) -> tuple[object, ...]:
        return (
            "run", "--quiet", "--model", self.model, "--text", self.text, "--calibration", self.calibration, "--recipes", "Q2_K,Q4_K_M",
            "--window", 64, "--windows", 2, "--generate", 2, "--propagation", "-t", 1, "--cache", cache or folder / "cache", "--out", folder / "run",
        )  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a run is to have in the end, however it went: records without times, the order of files, names of files that are kept and
    the checksums of those whose bytes follow from their names."""

    records: dict[str, Any]
    order: tuple[str, ...]
    kept: dict[str, str]

    @classmethod
    def of(cls, folder: Path, cache: Path | None = None) -> Outcome:
        found = Run.load(folder / "run", record_types())
        kept = (*_kept(folder / "run"), *_kept(cache or folder / "cache"))
        return cls(_records(found), _order(found, folder / "run"), dict(kept))

    def differences(self, other: Outcome, *, may_lack: str | None = None) -> list[Fault]:
        """What is another in a run that was disturbed. may_lack: how names of files begin that need not be there."""
        faults = []
        for what, mine, theirs in (
            ("records differ", self.records, other.records),
            ("files differ", self.kept, other.kept),
        ):
            names = sorted(n for n in mine.keys() | theirs.keys() if mine.get(n) != theirs.get(n))
            if may_lack is not None:
                names = [n for n in names if n in theirs or not n.startswith(may_lack)]
            if names:
                lines = (f"{n}\n  {str(mine.get(n))[:400]}\n  {str(theirs.get(n))[:400]}" for n in names)
                faults.append(Fault(what, "\n".join(lines)))
        if self.order != other.order:
            faults.append(Fault("order of files differs", f"{self.order}\n{other.order}"))
        return faults


def _records(found: Run) -> dict[str, Any]:
    """The records that count, by what they are of."""
    records = {}
    for r in found.records:
        if not isinstance(r, FailureRecord | StageRecord):
            data = _lasting(r.model_dump(mode="json"))
            window = (data.get("result") or {}).get("window")
            records[f"{r.kind} {data.get('recipe', '')} {window}"] = data
    return records | {"failures": [f.reason for f in found.failures]}


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _OF_THE_MOMENT}
    return [_lasting(v) for v in value] if isinstance(value, list | tuple) else value


def _order(found: Run, directory: Path) -> tuple[str, ...]:
    """Files as the run has them, its windows, and the table of all files."""
    with (directory / "tables" / "full.csv").open(encoding="utf-8", newline="") as f:
        in_table = [row[0] for row in csv.reader(f)]
    return (*found.files, "-", *windows_of(found).by_file, "-", *in_table)


def _kept(top: Path) -> Iterator[tuple[str, str]]:
    """Files of the run or its cache by their names. Notes and outputs hold times, and the records are compared by themselves."""
    for path in sorted(top.rglob("*")):
        if path.is_file():
            lasting = path.suffix in (".gguf", ".npz") or path.parent.parent.name == "blocks"
            yield f"{top.name}/{path.relative_to(top)}", file_sha256(path) if lasting else ""


def complete(small: SmallRun, folder: Path, env: dict[str, str] | None = None) -> tuple[list[Ended], list[Fault]]:
    """Give the command until it has everything on record. Returns how each ended, and what was not as it must be."""
    commands, faults = [], []
    while True:
        before = complete_lines(folder)
        commands.append(run(small.arguments(folder), folder, env=env))
        faults += lost(before, folder)
        if commands[-1].code == 0 or commands[-1].fault:
            return commands, faults
        if len(commands) == _AGAIN:
            return commands, [*faults, Fault("never ends well", commands[-1].err[-3000:])]


def undisturbed(small: SmallRun, folder: Path) -> tuple[float, Outcome]:
    """Run it once in a folder that is made for it. Returns how many seconds it took and what it ended in."""
    folder.mkdir()
    began = time.monotonic()
    [made], faults = complete(small, folder)
    assert made.code == 0 and not faults, made.err
    return time.monotonic() - began, Outcome.of(folder)


def complete_lines(folder: Path) -> bytes:
    """What is on record: a last line that is half written is not."""
    path = folder / "run" / FILE_NAME
    data = path.read_bytes() if path.is_file() else b""
    return data[: data.rfind(b"\n") + 1]


def lost(before: bytes, folder: Path) -> list[Fault]:
    """Whether what was on record before is not any more."""
    now = complete_lines(folder)
    if now.startswith(before):
        return []
    return [Fault("record lost or changed", f"before\n{before.decode()}\nafter\n{now.decode()}")]


def copied(whole: Path, folder: Path, n_lines: int | None) -> None:
    """Begin where the undisturbed run in `whole` had so many lines on record: its cache with the files made by then. None: nothing."""
    if n_lines is None:
        return
    lines = (whole / "run" / FILE_NAME).read_bytes().splitlines(keepends=True)[:n_lines]
    shutil.copytree(whole / "cache", folder / "cache")
    (folder / "run").mkdir()
    (folder / "run" / FILE_NAME).write_bytes(b"".join(lines))
