"""The locked-down process itself: a script of the standard library alone, started by sandbox.py with `python -I -S`.

It reads what to run from standard input, gives up what it can before anything of it is compiled, and ends. Only where all passed does
it write the token that it was handed and end with 0. sandbox.py says what this holds off.
"""

from __future__ import annotations

import builtins
import ctypes
import doctest
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

#: Modules that the code may import: those that compute. What handles files, processes or the network is not among them.
HARMLESS = frozenset((
    "__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "codecs", "collections",
    "colorsys", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "errno",
    "fractions", "functools", "graphlib", "hashlib", "heapq", "hmac", "html", "io", "ipaddress", "itertools", "json",
    "keyword", "locale", "logging", "math", "numbers", "operator", "pprint", "queue", "random", "re", "reprlib",
    "secrets", "statistics", "string", "struct", "sys", "textwrap", "time", "traceback", "types", "typing",
    "unicodedata", "urllib.parse", "warnings", "weakref", "zlib", "zoneinfo",
))  # fmt: skip
#: What built-in modules in C import in the name of the code that calls them, such as datetime.strptime.
_BEHIND = frozenset(("_pylong", "_strptime", "copyreg", "encodings"))
#: Never loaded once the hook is there, whoever asks for them.
_NEVER = frozenset((
    "_ctypes", "_multiprocessing", "_posixsubprocess", "_socket", "ctypes", "multiprocessing", "pty", "socket", "subprocess",
))  # fmt: skip
#: Beginnings of audit events that end the process: https://docs.python.org/3/library/audit_events.html
_REFUSED = (
    *("ctypes.", "fcntl.", "ftplib.", "gc.get_", "http.", "imaplib.", "nntplib.", "poplib.", "pty.", "resource.", "shutil."),
    *("signal.pthread_kill", "smtplib.", "socket.", "sqlite3.", "subprocess.", "syslog.", "tempfile.", "urllib.", "webbrowser."),
    *("os.chflags", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link", "os.lockf", "os.mkdir", "os.posix_spawn"),
    *("os.remove", "os.rename", "os.rmdir", "os.setxattr", "os.spawn", "os.symlink", "os.system", "os.truncate", "os.utime"),
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# From Linux's sched.h, prctl.h, fcntl.h and mount.h: os.unshare came with Python 3.12, the others never did.
_NEW_USER, _NEW_MOUNTS, _NEW_NETWORK, _NEW_PROCESSES, _NEW_IPC = 0x10000000, 0x20000, 0x40000000, 0x20000000, 0x08000000
_SET_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES = 1, 38
_MOUNT_SETATTR, _HERE, _RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1


def main() -> NoReturn:
    asked: dict[str, Any] = json.load(sys.stdin)
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    write, leave = os.write, os._exit  # the code may put others in their place
    _shut_in()
    _limit(asked["cpu"], asked["memory"], asked["files"])
    _guard()
    if not _passes(asked["source"], asked["doctests"]):
        leave(1)
    write(answer, asked["token"].encode())
    leave(0)
    raise AssertionError("a process that has ended goes on")


def _shut_in() -> None:
    """Go where there is no network, nothing can be written and no other process is seen, if the kernel lets this user; end when the
    parent ends in any case."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if libc.unshare(_NEW_USER | _NEW_MOUNTS | _NEW_NETWORK | _NEW_PROCESSES | _NEW_IPC) != 0:
        return  # many containers forbid it; the limits and the hook are left
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
    libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(_HERE),
        ctypes.c_char_p(b"/"),
        ctypes.c_uint(_RECURSIVE),
        attributes,
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    # Processes to come are in the new space of processes, this one is not. The first one's end is the end of all of them.
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _limit(cpu: int, memory: int, files: int) -> None:
    """Limits that cannot be raised again. cpu: seconds; memory: bytes of address space."""
    for what, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_NPROC, 1),  # this one; threads count as processes
    ):
        hard = resource.getrlimit(what)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit, limit))


def _guard() -> None:
    """From here on what is refused ends the process, so that no code can catch the error and go on."""
    leave = os._exit

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if isinstance(flags, int) and flags & _WRITING:
                leave(3)
        elif event == "import":
            if str(arguments[0]).partition(".")[0] in _NEVER:
                leave(3)
        elif event.startswith(_REFUSED):
            leave(3)

    sys.addaudithook(check)


def _importing() -> Callable[..., object]:
    """`__import__` for the code. Modules of the library import what they need with the usual one."""
    usual, leave, allowed = builtins.__import__, os._exit, HARMLESS | _BEHIND

    def harmless(name: str, *others: Any, **named: Any) -> object:
        if name not in allowed and name.partition(".")[0] not in allowed:
            leave(3)
        return usual(name, *others, **named)

    return harmless


def _passes(source: str, doctests: Sequence[str]) -> bool:
    """Whether the source runs as a module, and then each text's doctests, on names of their own, pass."""
    module = types.ModuleType("completed")
    sys.modules[module.__name__] = module  # where dataclasses look for it
    module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _importing()}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    try:
        exec(compile(source, "<completed>", "exec", dont_inherit=True), module.__dict__)
        for number, text in enumerate(doctests):
            test = parser.get_doctest(text, dict(module.__dict__), f"doctest-{number}", None, None)
            if runner.run(test, out=lambda _: None).failed:
                return False
    except BaseException:  # SystemExit and KeyboardInterrupt are no pass either
        return False
    return True


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
