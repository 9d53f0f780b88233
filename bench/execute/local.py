"""Running a job in a worker process of its own, from the parent's side.

One process, the server (worker.py), is started once; it imports what jobs need and forks for every job. So each job has a
fresh process at the price of a fork, and a crash in native code ends that job only.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel

from bench.core.errors import BenchError, MeasurementError

Result = TypeVar("Result", bound=BaseModel)


class _Server:
    """The process that forks workers. It ends when this one does, and so do its workers."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as this object
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.execute.worker", str(theirs.fileno())],
            stdin=subprocess.PIPE,  # held open by this process alone: its end tells workers to end
            stdout=self.log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            # In a session of its own: Ctrl-C is for the parent, which then ends the workers.
            start_new_session=True,
            # A thread pool of numpy's would not survive the fork, and nothing here uses it.
            env=os.environ | {"GGML_NO_BACKTRACE": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        self._answers = self._socket.makefile("r", encoding="utf-8")
        self._worker: int | None = None

    def start(self, job_file: Path, answers: int, log: int, cpus: list[int] | None) -> None:
        """Have a worker do a job; it writes to the two file descriptors."""
        request = json.dumps({"job": str(job_file), "cpus": cpus}).encode()
        try:
            socket.send_fds(self._socket, [request], [answers, log])
            self._worker = json.loads(self._answers.readline())["pid"]
        except (OSError, ValueError):  # it has ended; wait() says how
            self._worker = None

    def wait(self) -> tuple[int, bool]:
        """Exit code of the worker (negative: the signal that ended it), and whether it was the server that ended."""
        answer = self._answers.readline() if self._worker else ""
        self._worker = None
        return (json.loads(answer)["code"], False) if answer else (self._process.wait(), True)

    def stop(self) -> None:
        if self._worker:
            with suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._answers.close()
        self._socket.close()
        self.log.close()


_server: _Server | None = None


def start_server() -> None:
    """Start the server unless it runs: early, so that its imports and the caller's go on side by side."""
    global _server
    if _server is None:
        _server = _Server()
        atexit.register(_stop_server)


def _stop_server() -> None:
    global _server
    if _server is not None:
        atexit.unregister(_stop_server)
        _server.stop()
        _server = None


def run_job(
    job: BaseModel,
    result_type: type[Result],
    *,
    cpus: list[int] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Result:
    """Do a job in a fresh process, pinned to `cpus`; this process sleeps on a pipe meanwhile.

    Raises what the worker raised (BenchError, MeasurementError), and MeasurementError with the signal or exit code
    when the worker died.
    """
    start_server()
    server = _server
    assert server is not None
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, tempfile.TemporaryFile() as log:
        job_file = Path(directory, "job.json")
        job_file.write_text(job.model_dump_json(), encoding="utf-8")
        read_end, write_end = os.pipe()
        answer: dict[str, object] = {}
        ended = False
        try:
            with os.fdopen(read_end) as answers:
                server.start(job_file, write_end, log.fileno(), cpus)
                os.close(write_end)
                for line in answers:
                    if not line.endswith("\n"):
                        break  # the worker died while it wrote this
                    message = json.loads(line)
                    if "progress" in message:
                        if progress:
                            progress(message["progress"])
                    else:
                        answer = message
            code, server_ended = server.wait()
            ended = not server_ended
            last_words = _last_words(server.log if server_ended else log)
        finally:
            if not ended:  # interrupted, or the server itself is gone: the next job gets a new one
                _stop_server()
        if "result" in answer:
            return result_type.model_validate(answer["result"])
        if isinstance(error := answer.get("error"), dict):
            raise (MeasurementError if error["measurement"] else BenchError)(error["text"])
        raise MeasurementError(f"the worker process {_ending(code)}{last_words}")


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and no result"
    name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
    why = {
        "SIGKILL": " (out of memory?)",
        "SIGILL": " (the engine was built for another CPU; BENCH_ISA=native builds it for this one)",
    }
    return f"was ended by {name}{why.get(name, '')}"


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""
