"""The one append-only file that keeps the records of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from bench.core.errors import BenchError, RecordsError
from bench.records.identity import Header, Identity
from bench.records.record import Record
from bench.records.run import FILE_NAME, Run

_LOCK = ".lock"


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
            self._append_header()
        data = self.path.read_bytes()
        complete = data.rfind(b"\n") + 1
        if complete == 0 and data.startswith(b'{"kind":"run"'):
            os.truncate(self.path, 0)
            self._append_header()
        self.run = Run.load(self.directory, self._kinds)
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
        """Add a whole line, or leave the file as it was."""
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as f:
                f.write(record.model_dump_json().encode() + b"\n")
                f.flush()
                os.fsync(f.fileno())
        except OSError as e:
            with suppress(OSError):  # half a line, which the next would be written behind
                os.truncate(self.path, before)
            raise RecordsError(
                f"{self.path}: cannot be written ({e.strerror}); free some space or check its permissions, then run again"
            ) from e

    def append(self, record: Record) -> None:
        """Put a record on disk; it counts once this returns."""
        self._append_line(record)
        self.run = Run(self.run.header, (*self.run.records, record), self.directory)


def newest_time(records: Iterable[Record]) -> str:
    """UTC time of the latest record."""
    return max((r.time for r in records), default="")
