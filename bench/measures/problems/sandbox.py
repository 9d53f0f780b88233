"""Python code that a model wrote, run in a locked-down process to see whether doctests pass.

This is for code that goes wrong by accident: a small model that is given a gap in harmless code now and then writes an endless loop, a
list without end, or a line that opens a file. It is no jail for an attacker. What holds off what:

- Time, memory, output, open files, further processes and the size of files are limited by the kernel (rlimits, and the wall limit here).
  Root is exempt from the limit on processes, so there the hook alone refuses a fork.
- Network, writing and other processes are out of reach where the kernel lets this user make namespaces: the process then has a network
  without devices, all that is mounted is read-only, and the end of its first process ends all that it started. Many containers
  forbid that.
- In any case an audit hook of Python ends the process when the code opens a file to write, changes a folder, opens a socket, starts or
  signals a process or loads ctypes; and so does an import of anything but modules that only compute (confined.HARMLESS). Code
  that is written for it can get around a hook inside its own interpreter.
- Files can be read. The environment is empty, the working directory is an empty temporary one, and standard input is at its end.
- A pass is told by a random token that the process is handed before the code runs and writes after the last doctest: what the code
  prints, and ending early with 0, is no pass. Code that searches the memory of its own interpreter could find the token.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.core.errors import BenchError
from bench.core.files import cannot_hold, unnamed_file

#: Bytes that are read at once.
_BLOCK = 2**16
#: Seconds that a process which was killed gets to be gone.
_TO_GO = 5.0
_SCRIPT = Path(__file__).with_name("confined.py")


@dataclass(frozen=True)
class Limits:
    """cpu, wall: seconds, the latter with room for a machine that is busy; memory: bytes of address space; output: bytes; files: open
    at once."""

    cpu: int = 5
    wall: float = 30.0
    memory: int = 512 * 2**20
    output: int = 2**16
    files: int = 32


LIMITS = Limits()


def refusal() -> str | None:
    """Why no code is run here; None where it is."""
    if sys.platform != "linux":  # Windows has no rlimits, and macOS does not hold to that of memory
        return "doctests are not run, since this system has no limits to run a model's code under; Linux has them"
    return None


def passes(source: str, doctests: Sequence[str], limits: Limits = LIMITS) -> bool:
    """Whether a module runs and each text's doctests pass on it, within the limits. The texts are the caller's: what the source says of
    itself is not run.

    Raises BenchError where code must not be run, or no process can be started.
    """
    if why := refusal():
        raise BenchError(why)
    token = secrets.token_hex(16)
    asked = {
        "source": source,
        "doctests": list(doctests),
        "token": token,
        "cpu": limits.cpu,
        "memory": limits.memory,
        "files": limits.files,
    }
    try:
        with unnamed_file() as file, tempfile.TemporaryDirectory(prefix="bench-doctests-") as empty:
            file.write(json.dumps(asked).encode())
            file.seek(0)
            output = _run(file, empty, limits)
    except OSError as e:
        raise cannot_hold(e) from e
    return output is not None and output.endswith(token.encode())


def _run(asked: IO[bytes], folder: str, limits: Limits) -> bytes | None:
    """What the process wrote; None where it was ended for what it did or how long it took, or did not end well."""
    deadline = time.monotonic() + limits.wall
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_SCRIPT)],
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={},
            start_new_session=True,
        )
    except OSError as e:
        raise BenchError(f"no process can be started for doctests ({e.strerror or e}); end other programs") from e
    in_time = False
    try:
        output = _output(process, deadline, limits.output)
        in_time = output is not None and _ends(process, deadline)
    finally:
        # with all that it may have started, and before its number is free for another
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        # a process that this one did not start itself is not waited for, but it holds the pipe until its memory is free
        _output(process, time.monotonic() + _TO_GO, 2**24)
        assert process.stdout is not None
        process.stdout.close()
    return output if in_time and code == 0 else None


def _output(process: subprocess.Popen[bytes], deadline: float, most: int) -> bytes | None:
    """All that the process writes; None if it writes too much or does not come to an end."""
    assert process.stdout is not None
    written = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(deadline - time.monotonic(), 0)):
            block = os.read(process.stdout.fileno(), _BLOCK)
            if not block:
                return written
            written += block
            if len(written) > most:
                return None
    return None


def _ends(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Whether a process whose output is at its end ends too. It is not reaped, so that its number stays its own."""
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)  # it is at its last instruction, or has closed its output and goes on
    return True
