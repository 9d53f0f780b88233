"""The one append-only file that keeps the records of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from bench.core.errors import BenchError, RecordsError
from bench.core.files import complete_or_absent, sync_directory
from bench.records.identity import Header, Identity
from bench.records.record import Record
from bench.records.run import FILE_NAME, Damaged, Run

_LOCK = ".lock"
#: Where damaged lines of a record file are kept.
DAMAGED = "records.damaged.jsonl"
#: Damaged lines that are told one by one.
_TOLD = 3


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Keep others from writing to a run. Raises BenchError while another process does."""
    try:
        with FileLock(directory / _LOCK).acquire(timeout=0):
            yield
    except Timeout as e:
        raise BenchError(f"{directory}: a run is writing here; wait for it") from e


class RunStore:
    """The record file of a run, open for appending by one process at a time. Use as a context manager.

    kinds: types of the records that measures keep, by their `kind`.

    Raises BenchError when the directory cannot be written, another process has it open, or it holds another run.
    """

    def __init__(
        self, directory: Path, identity: Identity, versions: dict[str, str], kinds: Mapping[str, type[Record]]
    ) -> None:
        self.directory = directory
        self.path = directory / FILE_NAME
        self._lock = FileLock(directory / _LOCK)
        self._identity, self._versions, self._kinds = identity, versions, kinds
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
            self._begin()
        data = self._bytes()
        if b"\n" not in data and data.startswith(b'{"kind":"run"'):
            self._begin()
            data = self._bytes()
            self.repaired = f"{self.path}: held half a header and nothing else; the run begins anew"
        self.run = Run.load(self.directory, self._kinds)
        if self.run.identity.id != self._identity.id:
            different = self.run.identity.differences(self._identity)
            raise BenchError(
                f"{self.directory}: holds another run: {'; '.join(different[:3])}; choose another directory with --out"
            )
        if unknown := next((d for d in self.run.damaged if d.is_unknown), None):
            raise BenchError(
                f"{self.path}:{unknown.number}: {unknown.reason}; update the program, or remove the line, before the run goes on"
            )
        complete = data.rfind(b"\n") + 1
        self._end = len(data)
        if complete < len(data):
            self._shorten(complete)
            self.repaired = (
                f"{self.path}: the last line was only half written and was removed; what it measured is measured again"
            )
        if self.run.damaged:
            self.repaired = self._set_aside()

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as e:
            raise BenchError(f"{self.path}: cannot be read ({e.strerror}); check its permissions") from e

    def _begin(self) -> None:
        """Start the file with the run's header."""
        self._end = 0
        header = Header(id=self._identity.id, identity=self._identity, versions=self._versions)
        self._append_line(header)
        try:
            sync_directory(self.directory)
        except OSError as e:
            raise _cannot_be_written(self.path, e) from e

    def _set_aside(self) -> str:
        """Move damaged lines into a file beside, where somebody may mend them. Returns what to tell of it."""
        damaged, aside = self.run.damaged, self.directory / DAMAGED
        with complete_or_absent(aside) as partial:
            partial.write_bytes(
                (aside.read_bytes() if aside.exists() else b"") + b"".join(d.line + b"\n" for d in damaged)
            )
        numbers = {d.number for d in damaged}
        lines = self._bytes().split(b"\n")[:-1]
        with complete_or_absent(self.path) as partial:
            partial.write_bytes(b"".join(line + b"\n" for i, line in enumerate(lines, 1) if i not in numbers))
        self._end = self.path.stat().st_size
        self.run = Run(self.run.header, self.run.records, self.directory)
        return f"{self.path}: {damage(damaged)}; moved to {aside.name}, and what was measured there is measured again"

    def _shorten(self, end: int) -> None:
        try:
            os.truncate(self.path, end)
        except OSError as e:
            raise _cannot_be_written(self.path, e) from e
        self._end = end

    def _append_line(self, record: Header | Record) -> None:
        """Add a whole line, or leave the file as it was. What an earlier attempt left behind it goes first."""
        line = record.model_dump_json().encode() + b"\n"
        try:
            opened = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                if (there := os.fstat(opened).st_size) < self._end:
                    raise RecordsError(f"{self.path}: was cut short while the run was writing to it; run again")
                if there > self._end:
                    os.ftruncate(opened, self._end)
                try:
                    written = 0
                    while written < len(line):
                        written += os.write(opened, line[written:])
                    os.fsync(opened)
                except OSError:
                    with suppress(OSError):  # if this fails too, the next append or start takes it away
                        os.ftruncate(opened, self._end)
                        os.fsync(opened)
                    raise
                self._end += len(line)
            finally:
                with suppress(OSError):  # the line is synced, or has failed already
                    os.close(opened)
        except OSError as e:
            raise _cannot_be_written(self.path, e) from e

    def append(self, record: Record) -> None:
        """Put a record on disk; it counts once this returns."""
        self._append_line(record)
        self.run = Run(self.run.header, (*self.run.records, record), self.directory)


def damage(damaged: Sequence[Damaged]) -> str:
    """`line 17 (is not JSON) is damaged`, or of several lines the first few."""
    told = ", ".join(f"{d.number} ({d.reason})" for d in damaged[:_TOLD])
    more = f" and {len(damaged) - _TOLD} more" if len(damaged) > _TOLD else ""
    return f"line {told} is damaged" if len(damaged) == 1 else f"lines {told}{more} are damaged"


def _cannot_be_written(path: Path, e: OSError) -> RecordsError:
    return RecordsError(
        f"{path}: cannot be written ({e.strerror}); free some space or check its permissions, then run again"
    )


def newest_time(records: Iterable[Record]) -> str:
    """UTC time of the latest record."""
    return max((r.time for r in records), default="")
