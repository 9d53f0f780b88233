"""Doing jobs in worker processes of this machine, from the parent's side.

A process, the server (worker.py), is started once; it imports what jobs need and forks for every job. So each job has a
fresh process at the price of a fork, and a crash in native code ends that job only. A server does one job at a time; jobs
that are under way at once have a server each.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.core.errors import BenchError, MeasurementError
from bench.core.files import cannot_hold, unnamed_file
from bench.execute.content import Content, Site
from bench.execute.ending import aborted, ending, last_words
from bench.execute.job import Answer, Job, Share

#: Seconds that a server gets to end once it answers nothing any more.
_TO_END = 10.0
#: The same, of one that may be importing what a worker needs.
_TO_FORK = 1.0


class _Server:
    """The process that forks workers. It ends when this one does, and so do its workers. preload: modules that it imports first."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._socket, theirs = socket.socketpair()
        self.log = unnamed_file()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.execute.worker", str(theirs.fileno()), *preload],
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
        self._is_busy = False
        #: Whether this process has ended, and not only a worker of it.
        self.has_ended = False

    def start(self, request: int, answers: int, log: int) -> None:
        """Have a worker do what is to be read from a file descriptor; it writes to the other two."""
        self._is_busy = True
        try:
            socket.send_fds(self._socket, [b"job"], [request, answers, log])
            self._worker = json.loads(self._answers.readline())["pid"]
        except (OSError, ValueError):  # it has ended, or can be told nothing any more; wait() says how it ended
            self._worker = None

    def end_worker(self) -> None:
        """End the worker that is at work, if there is one; wait() tells of it as of any other end."""
        if self._worker:
            with suppress(ProcessLookupError):
                os.kill(self._worker, signal.SIGKILL)

    def wait(self) -> int:
        """Exit code of the worker, or of the server where that has ended; negative: the signal that ended it."""
        answer = self._answers.readline() if self._worker else ""
        self._worker, self._is_busy = None, False
        if answer:
            return int(json.loads(answer)["code"])
        self.has_ended = True
        try:
            return self._process.wait(_TO_END)
        except subprocess.TimeoutExpired:  # it is there and answers nothing
            self._process.kill()
            return self._process.wait()

    def stop(self) -> None:
        """End it and its worker, which does nothing any more once this returns."""
        self.end_worker()
        if self._process.stdin:
            self._process.stdin.close()  # which ends a worker too whose number was not told yet
        if self._is_busy:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._socket.shutdown(socket.SHUT_WR)
                self._process.wait(_TO_END if self._worker else _TO_FORK)  # it waits for its worker
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._socket.close()
        self.log.close()


class _Pool:
    """Servers that wait for work. One does one job at a time, so as many run as there are jobs under way at once."""

    def __init__(self) -> None:
        self._idle: list[_Server] = []
        self._lock = threading.Lock()

    @contextmanager
    def server(self) -> Iterator[_Server]:
        """A server of one's own for the block. It goes on waiting afterwards, if it still can."""
        with self._lock:
            server = self._idle.pop() if self._idle else _Server()
        try:
            yield server
        except BaseException:  # interrupted: the next job gets a new one
            server.stop()
            raise
        if server.has_ended:
            server.stop()
            return
        with self._lock:
            self._idle.append(server)

    def warm_up(self, *modules: str) -> None:
        """Start a server that imports these modules, unless one waits: early, so that its imports and the caller's go on side
        by side."""
        with self._lock:
            if not self._idle:
                self._idle.append(_Server(modules))

    def stop(self) -> None:
        with self._lock:
            waiting, self._idle = self._idle, []
        for server in waiting:
            server.stop()


#: Of this process: starting a server takes a second, so executors share those that wait.
_pool = _Pool()
atexit.register(_pool.stop)
warm_up = _pool.warm_up


class LocalExecutor:
    """Does jobs in worker processes of this machine. cache: the site's; cpus: what pinned jobs run on, None for all; known:
    places of files that lie outside of the cache, by content name.

    `do` may be called from several threads; each call has a worker process of its own.
    """

    def __init__(self, cache: Path, cpus: Sequence[int] | None = None, known: Mapping[str, Path] | None = None) -> None:
        self._cache, self._cpus = cache.absolute(), None if cpus is None else list(cpus)
        self._known = dict(known or {})

    @property
    def site(self) -> Site:
        return Site(cache=self._cache, known=dict(self._known))

    def hold(self, path: Path, sha256: str | None = None) -> Content:
        """Tell of a file that lies anywhere; returns what jobs name it by. sha256: None for a file of this machine alone."""
        content = Content.of_place(path) if sha256 is None else Content.of_file(sha256)
        self._known[content.name] = path.absolute()
        return content

    def do(
        self, job: Job[Answer], progress: Share | None = None, part: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Do a job in a fresh process; the calling thread sleeps on a pipe meanwhile.

        Raises what the worker raised (BenchError, MeasurementError), and MeasurementError when the worker died: with the model's
        file where llama.cpp aborted, and the signal or exit code; and where its patience was at an end.
        """
        request = {
            "type": job.type_name(),
            "job": job.model_dump(mode="json"),
            "site": self.site.model_dump(mode="json"),
            "cpus": self._cpus if job.pinned else None,
        }

        def told(value: object) -> None:
            if part is not None:
                part(job.answer_type().model_validate(value))

        with unnamed_file() as asked, unnamed_file() as log, _pool.server() as server:
            try:
                asked.write(json.dumps(request).encode())
                asked.seek(0)
            except OSError as e:
                raise cannot_hold(e) from e
            with _patience(job.patience(), server) as is_over:
                said = _ask(server, asked.fileno(), log.fileno(), progress, told)
            code = server.wait()
            words = last_words(server.log if server.has_ended else log)
        if "result" in said:
            return job.answer_type().model_validate(said["result"])
        if isinstance(failed := said.get("error"), dict):
            raise (MeasurementError if failed["measurement"] else BenchError)(failed["text"])
        if is_over.is_set():
            raise MeasurementError(f"it gave no answer in {job.patience():.0f} seconds")
        model = job.model_file()
        if model is not None and (error := aborted(str(self.site.path(model)), code, words)):
            raise error
        raise MeasurementError(f"the worker process {ending(code)}{words}")


@contextmanager
def _patience(seconds: float | None, server: _Server) -> Iterator[threading.Event]:
    """Have a server's worker ended once so much time has passed. Gives whether that was so."""
    over = threading.Event()

    def end() -> None:
        over.set()
        server.end_worker()

    timer = threading.Timer(seconds, end) if seconds is not None else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield over
    finally:
        if timer is not None:
            timer.cancel()


def _ask(
    server: _Server, request: int, log: int, progress: Share | None, part: Callable[[object], None]
) -> dict[str, object]:
    """Have a server's worker do a job; what it said at last, nothing if it died before."""
    read_end, write_end = os.pipe()
    said: dict[str, object] = {}
    with os.fdopen(read_end) as answers:
        server.start(request, write_end, log)
        os.close(write_end)
        for line in answers:
            if not line.endswith("\n"):
                break  # the worker died while it wrote this
            message = json.loads(line)
            if "progress" in message:
                if progress:
                    progress(message["progress"])
            elif "part" in message:
                part(message["part"])
            else:
                said = message
    return said
