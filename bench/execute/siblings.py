"""Processes of one job that take turns, so that one computes at a time and compared files run as close together as possible.

A job's worker forks them, before it has started a thread of native code, and gives each its turn. Meanwhile the others sleep on
a pipe. A crash ends one of them and is reported for it alone. They end with the worker, however it ends.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from typing import Any, Protocol

from bench.core.errors import BenchError, MeasurementError
from bench.core.files import told, unnamed_file
from bench.execute.ending import aborted, ending, last_words

#: Whether a process that has imported what jobs need may be forked: macOS's own libraries do not survive it.
FORKS = sys.platform == "linux"


#: Seconds between two turns: threads of the one that gave way spin for about one thousandth of a second before they sleep.
_PARKING = 0.002
#: Seconds for which the clock of this process stood.
_stood = 0.0


def own_time() -> float:
    """A clock in seconds that stands still while this process waits for its turn in the middle of something (`stopped_clock`)."""
    return time.perf_counter() - _stood


@contextmanager
def stopped_clock() -> Iterator[None]:
    """In the block `own_time` stands still."""
    global _stood
    began = time.perf_counter()
    try:
        yield
    finally:
        _stood += time.perf_counter() - began


class Turns(Protocol):
    """What a process waits for before it computes."""

    @property
    def has_others(self) -> bool:
        """Whether there is anybody to give way to."""

    def turn(self) -> AbstractContextManager[bool]:
        """Wait for a turn; at the end of the block it is another's. The value is whether the one that leads is still there."""

    def give_way(self) -> None:
        """In the middle of a turn: let the others go on, and wait until it is one's turn again."""

    def tell(self, value: Any) -> None:
        """Between two turns: hand over what is known before the answer is."""


class Alone:
    """Turns of a process that need not wait for any other. told: takes what it tells before its answer."""

    has_others = False

    def __init__(self, told: Callable[[Any], None] = lambda value: None) -> None:
        self._told = told

    def turn(self) -> AbstractContextManager[bool]:
        return nullcontext(True)

    def give_way(self) -> None:
        pass

    def tell(self, value: Any) -> None:
        self._told(value)


#: What a sibling does, turn by turn, and returns as its answer. It raises BenchError or MeasurementError for its own part.
Body = Callable[[Turns], Any]


class _Waiting:
    """Turns as a sibling sees them."""

    has_others = True

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @contextmanager
    def turn(self) -> Iterator[bool]:
        is_led = self._pipe.recv()
        yield is_led
        self._pipe.send(("over", None))

    def give_way(self) -> None:
        self._pipe.send(("part", None))
        self._pipe.recv()

    def tell(self, value: Any) -> None:
        self._pipe.send(("told", value))


class Sibling:
    """One of the processes, from the worker's side. model: the file that it works with, to name where llama.cpp aborts on it.

    told: what it has told by now, as far as it was heard: it is listened to in its turns; answer: what its body returned; error: why it
    did not, once it has ended.
    """

    def __init__(self, body: Body, model: str) -> None:
        self.told: list[Any] = []
        self.answer: Any = None
        self.error: BenchError | None = None
        self._model, self._log = model, unnamed_file()
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_live, args=(body, theirs, self._log.fileno(), os.getpid()), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def has_ended(self) -> bool:
        return self.answer is not None or self.error is not None

    def take_turn(self, *, is_led: bool = True) -> bool:
        """Let it go on and wait until it gives way, its turn is over, or it has ended. Returns whether that turn is over. is_led: see
        Turns.turn."""
        if self.has_ended:
            return True
        with suppress(BrokenPipeError):  # it has died since; what it left is told below
            self._pipe.send(is_led)
        return self._hear() != "part"

    def finish(self) -> None:
        """Wait for its answer, after its last turn."""
        while not self.has_ended:
            self._hear()
        self._process.join()

    def _hear(self) -> str:
        """The kind of its next message, but for what it tells."""
        try:
            kind, value = self._pipe.recv()
            while kind == "told":
                self.told.append(value)
                kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code, words = self._process.exitcode or 0, last_words(self._log)
            self.error = aborted(self._model, code, words) or MeasurementError(f"its process {ending(code)}{words}")
            return "died"
        if kind == "answer":
            self.answer = value
        elif kind == "error":
            self.error = value
        return str(kind)

    def stop(self) -> None:
        """End it at once, wherever it is."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._log.close()


def go_round(siblings: Sequence[Sibling], *, is_led: Callable[[], bool] = lambda: True) -> None:
    """Give each its turn, in their order, until each is over. They give way to each other in the middle of it where they like. is_led: see
    Turns.turn."""
    going = list(siblings)
    while going:
        for sibling in list(going):
            time.sleep(_PARKING)
            if sibling.take_turn(is_led=is_led()):
                going.remove(sibling)


def _live(body: Body, pipe: Connection, log: int, worker: int) -> None:
    """A sibling, from its first step to its last."""
    _end_with(worker)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        pipe.send(("answer", body(_Waiting(pipe))))
    except BenchError as e:
        pipe.send(("error", e))
    except OSError as e:
        pipe.send(("error", MeasurementError(told(e))))
    except EOFError:  # the worker is gone
        os._exit(1)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(1)


def _end_with(worker: int) -> None:
    """Have the kernel end this process when the worker that forked it is gone."""
    set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != worker:  # it was gone before
        os._exit(1)
