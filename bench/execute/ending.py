"""How a job's process ended, in words."""

from __future__ import annotations

import signal
from typing import IO

from bench.core.errors import MeasurementError

#: Signals that native code ends itself with when it is given what it did not expect, a model's file as a rule.
_ABORTS = frozenset({signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS})


def aborted(model: str, code: int, words: str) -> MeasurementError | None:
    """The error that names a model's file where llama.cpp aborted on it; None for a process that ended otherwise."""
    if -code not in _ABORTS:
        return None
    error = MeasurementError(
        f"{model}: llama.cpp gave up on this model ({signal.Signals(-code).name}), which is damaged or of a kind that it does not "
        "run; download or convert it again (--debug shows what llama.cpp said)"
    )
    error.__cause__ = RuntimeError(f"the worker process {ending(code)}{words}")
    return error


def ending(code: int) -> str:
    """What an exit code says; negative: the signal that ended the process."""
    if code >= 0:
        return f"ended with code {code} and no result"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
    why = {
        "SIGKILL": " (out of memory?)",
        "SIGILL": " (the engine was built for another CPU; BENCH_ENGINE=native builds it for this one)",
    }
    return f"was ended by {name}{why.get(name, '')}"


def last_words(log: IO[bytes]) -> str:
    """The last line of what it wrote, with a colon before it."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""
