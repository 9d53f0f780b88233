"""The server of workers, `python -m bench.execute.worker`, and the workers: each does one job and ends.

The server imports what jobs need and then forks for every job, so that a fresh process costs milliseconds. It computes
nothing itself and starts no thread, so the fork is safe. (Where forking is not safe at all, it does one job
itself and ends.) A job comes as JSON in a file without a name; progress and the answer go back as JSON lines on a pipe of their own,
since native code may write anything to the standard streams. A crash costs one job, never the sweep.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from pydantic import BaseModel

from bench.core.errors import BenchError, MeasurementError
from bench.core.files import told
from bench.core.machine import pin
from bench.execute.content import Site
from bench.execute.job import Job, job_type
from bench.execute.siblings import FORKS


def _end_with_parent() -> None:
    """End this process when the parent is gone, however it went: standard input is a pipe that the parent holds."""

    def wait() -> None:
        # not sys.stdin: the interpreter cannot end while a thread waits inside a buffered stream
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _job(request: dict[str, Any]) -> Job[Any]:
    return job_type(request["type"]).model_validate(request["job"])


class _Telling:
    """What a job tells before its answer, into the pipe."""

    def __init__(self, send: Callable[[str, object], None]) -> None:
        self._send = send

    def __call__(self, share: float, /) -> None:
        self._send("progress", share)

    def part(self, answer: BaseModel) -> None:
        self._send("part", answer.model_dump(mode="json"))


def _do(request: dict[str, Any], answers: int) -> None:
    """Do a job and answer."""
    if request["cpus"]:
        pin(request["cpus"])
    _end_with_parent()
    with os.fdopen(answers, "w", buffering=1) as pipe:

        def send(kind: str, value: object) -> None:
            pipe.write(json.dumps({kind: value}) + "\n")

        try:
            result = _job(request).run(Site.model_validate(request["site"]), _Telling(send))
            send("result", result.model_dump(mode="json"))
        except BenchError as e:
            send("error", {"text": str(e), "measurement": isinstance(e, MeasurementError)})
        except OSError as e:
            send("error", {"text": told(e), "measurement": True})


def _work(request: dict[str, Any], answers: int, log: int) -> NoReturn:
    """A worker, from its first step to its last."""
    code = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        _do(request, answers)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):  # the log is told of nothing, then
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # without the exit handlers, which belong to the server


def main() -> None:
    """Serve jobs from the socket whose descriptor is the argument, until its other end is closed. The other arguments are modules to
    import first."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:  # while the parent gets ready
        importlib.import_module(module)
    while True:
        message, (*descriptors,), _, _ = socket.recv_fds(requests, 16, 3)
        if not message:
            return
        asked, answers, log = descriptors
        with os.fdopen(asked, "rb") as file:
            request = json.load(file)
        for module in _job(request).preloads():
            importlib.import_module(module)
        pid = os.fork() if FORKS else os.getpid()
        if pid == 0:
            requests.close()
            _work(request, answers, log)
        requests.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        if not FORKS:
            _work(request, answers, log)
        os.close(answers)
        os.close(log)
        _, status = os.waitpid(pid, 0)
        requests.sendall(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    main()
