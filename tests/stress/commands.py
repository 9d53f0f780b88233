"""Commands of the program, each in a process of its own that is forked from this one, so that thousands are tried in minutes.

This process imports the program once and never runs a command itself: a fork of a process with threads is not safe.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Seconds that a command's own processes get to end once it has ended.
_GRACE = 3.0
#: Lines of an error at most: what is wrong, where, the remedy, and notes before it.
_LINES = 12
#: Lines that tell what goes on before it.
_NOTES = re.compile(r"^(\d\d:\d\d:\d\d |warning: ).*\n", re.MULTILINE)
#: Exit code of a command that was asked to end.
_INTERRUPTED = 130
#: Variable of a command's environment, which its workers inherit: its process id.
_MARK = "STRESS_COMMAND"


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: None when it was stopped at the limit; negative for a signal, as in subprocess; left: command lines of processes that
    it left behind (they were ended)."""

    arguments: tuple[str, ...]
    code: int | None
    out: str
    err: str
    seconds: float
    left: tuple[str, ...] = ()

    @property
    def fault(self) -> str | None:
        """What no command may do, whatever it is given; None if it did none of it."""
        said = self.out + self.err
        if self.code is None:
            return "hang"
        if "Traceback (most recent call last)" in said or "│ Traceback" in said or "Traceback (most recent" in said:
            return "traceback"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if self.left:
            return "process left behind"
        if any(c in said for c in ("\x1b]", "\x07", "\x1b[2J", "\x1b[?")):
            return "terminal escape"
        if self.arguments[0] == "check" and self.code == 1 and self.out.strip():  # it tells what got worse
            return None
        if self.arguments[0] == "run" and self.code == 1 and "warning: " in self.err:  # it tells what was not measured
            return None
        if self.code == _INTERRUPTED and "interrupted; " in self.err:
            return None
        if self.code and "rror: " not in self.err:
            return "failure without an error"
        if self.code and len(_NOTES.sub("", self.err).split("\n")) > _LINES and "Usage" not in self.err:
            return "error of many lines"
        return None


def run(
    arguments: Sequence[object],
    scratch: Path,
    *,
    limit: float = 60.0,
    env: Mapping[str, str] | None = None,
    anew: bool = False,
) -> Ended:
    """Run a command and wait for it, at most `limit` seconds. scratch: its current directory, where its output is kept too; anew:
    in a process that loads everything again, as its environment asks for."""
    pid, began = start(arguments, scratch, env=env, anew=anew), time.monotonic()
    code = wait(pid, limit)
    seconds = time.monotonic() - began
    return ended(arguments, scratch, pid, code, seconds)


def start(
    arguments: Sequence[object], scratch: Path, *, env: Mapping[str, str] | None = None, anew: bool = False
) -> int:
    """Start a command in a session of its own. Returns its process id, which is the session's too."""
    from bench.cli import app

    out, err = scratch / ".out", scratch / ".err"
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # folders that this process would remove at its end
        os.setsid()
        os.chdir(scratch)
        for path, descriptor in ((out, 1), (err, 2)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(opened, descriptor)
            os.close(opened)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.environ.update({**(env or {}), _MARK: str(os.getpid())})
        tempfile.tempdir = None  # the environment may name another
        if anew:
            os.environ["PYTHONPATH"] = str(Path(app.__file__).parents[2])
            os.execv(sys.executable, [sys.executable, "-m", "bench", *map(str, arguments)])
        sys.argv = ["dynamicgate-bench", *map(str, arguments)]
        try:
            app.main()
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        _end_well()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _end_well() -> None:
    """What the interpreter would do at its end, which os._exit leaves out."""
    import atexit

    atexit._run_exitfuncs()


def wait(pid: int, limit: float) -> int | None:
    """Wait for a command: its exit code, or None if it was still running at the limit and was ended."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def ended(
    arguments: Sequence[object],
    scratch: Path,
    pid: int,
    code: int | None,
    seconds: float,
    *,
    grace: float = _GRACE,
) -> Ended:
    """What a command that has ended left: its output, and processes that it began, which are ended now. grace: seconds that they
    get to end by themselves."""
    until = time.monotonic() + grace
    while (left := begun_by(pid)) and time.monotonic() < until:
        time.sleep(0.05)
    lines = []
    for process in left:
        with suppress(psutil.Error):
            lines.append(" ".join(process.cmdline())[:200])
            process.kill()
    texts = [(scratch / name).read_bytes().decode("utf-8", "replace") for name in (".out", ".err")]
    return Ended(tuple(map(str, arguments)), code, texts[0], texts[1], seconds, tuple(lines))


def begun_by(pid: int) -> list[psutil.Process]:
    """Processes that a command began, itself left out, that have not ended: those of its session, and those that inherited its mark,
    since workers have sessions of their own."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if (
                process.pid != pid
                and process.status() != psutil.STATUS_ZOMBIE
                and (os.getsid(process.pid) == pid or process.environ().get(_MARK) == str(pid))
            ):
                found.append(process)
    return found
