"""Two ways to do the same work, run in alternating slices of time on an otherwise idle machine.

A machine that shares its host changes speed by the minute, so that two commands timed one after the other measure the
host. Here each side runs for a slice while every process of the other is stopped (SIGSTOP), and only the time in which a
side runs counts. Both sides meet the same disturbances.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from bench.core.errors import BenchError

#: Seconds for which a side runs before it is the other's turn: long against stopping, short against the host's moods.
SLICE = 5.0
_POLL = 0.005


@dataclass(frozen=True)
class Command:
    """A command of a side. prepare: what to do before it, not timed. watched: a file whose largest size is wanted."""

    arguments: Sequence[str | Path]
    watched: Path | None = None
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Ran:
    """A side that ran to its end.

    seconds: wall time of its slices; peak_bytes: largest resident memory of any process; disk_bytes: largest size that
    a watched file had; printed: what each command printed; waited: seconds the side ran alone, the other having ended.
    """

    seconds: float
    peak_bytes: int
    disk_bytes: int
    printed: tuple[str, ...]
    alone: float


@dataclass
class _Side:
    waiting: deque[Command]
    seconds: float = 0.0
    alone: float = 0.0
    peak_bytes: int = 0
    disk_bytes: int = 0
    printed: list[str] = field(default_factory=list)
    _running: subprocess.Popen[bytes] | None = None
    _command: Command | None = None
    _output: IO[bytes] | None = None

    @property
    def ended(self) -> bool:
        return self._running is None and not self.waiting

    def run(self, seconds: float | None, *, alone: bool) -> None:
        """Go on for a slice, or to the end when that comes sooner; then stand still. seconds: None for one whole command."""
        self._signal(signal.SIGCONT)
        started, ended_before = time.perf_counter(), len(self.printed)
        while not self.ended and (
            len(self.printed) == ended_before if seconds is None else time.perf_counter() - started < seconds
        ):
            if self._running is None:
                unpaid = time.perf_counter()
                self._begin()
                started += time.perf_counter() - unpaid
            elif self._has_ended():
                continue
            time.sleep(_POLL)
        spent = time.perf_counter() - started
        self._signal(signal.SIGSTOP)
        self.seconds += spent
        self.alone += spent if alone else 0.0
        self._look_at_disk()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _begin(self) -> None:
        self._command = self.waiting.popleft()
        self._command.prepare()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed when the command has ended
        self._running = subprocess.Popen(
            [str(a) for a in self._command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def _has_ended(self) -> bool:
        process = self._running
        assert process is not None
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)  # the usage of its own children included
        if pid == 0:
            return False
        process.returncode = os.waitstatus_to_exitcode(status)
        self._running = None
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        assert self._output is not None and self._command is not None
        self._output.seek(0)
        text = self._output.read().decode("utf-8", "replace")
        self._output.close()
        self.printed.append(text)
        self._look_at_disk()
        if process.returncode != 0:
            command = " ".join(str(a) for a in self._command.arguments[:4])
            raise BenchError(f"{command} ended with code {process.returncode}: {text.strip()[-300:]}")
        return True

    def _look_at_disk(self) -> None:
        if self._command is not None and self._command.watched is not None:
            found = self._command.watched
            files = [found] if found.is_file() else list(found.rglob("*"))
            sizes = []
            for file in files:
                with suppress(FileNotFoundError):  # removed since it was listed
                    sizes.append(file.stat().st_size if file.is_file() else 0)
            self.disk_bytes = max(self.disk_bytes, sum(sizes))

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the running command and all that it started; again until nothing new appears."""
        if self._running is None:
            return
        reached: set[int] = set()
        while True:
            try:
                main = psutil.Process(self._running.pid)
                new = [p for p in (main, *main.children(recursive=True)) if p.pid not in reached]
            except psutil.NoSuchProcess:
                return
            if not new:
                return
            for process in new:
                reached.add(process.pid)
                with suppress(psutil.NoSuchProcess):  # it ended by itself
                    process.send_signal(number)


def side_by_side(
    first: Sequence[Command], second: Sequence[Command], *, slice_seconds: float | None = SLICE
) -> tuple[Ran, Ran]:
    """Run the commands of each side one after the other, the sides in alternating slices, to the end of both.

    slice_seconds: None where each turn is a whole command: one that measures time itself must not be stopped.

    Raises BenchError when a command fails; everything is ended then.
    """
    sides = _Side(deque(first)), _Side(deque(second))
    try:
        while not (sides[0].ended and sides[1].ended):
            for side, other in (sides, sides[::-1]):
                if not side.ended:
                    side.run(slice_seconds, alone=other.ended)
    finally:
        for side in sides:
            side.kill()
    one, two = (Ran(s.seconds, s.peak_bytes, s.disk_bytes, tuple(s.printed), s.alone) for s in sides)
    return one, two
