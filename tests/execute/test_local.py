"""Jobs: what they are, where their content lies, and several of them at once."""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import pkgutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

import bench
from bench.core.errors import BenchError, MeasurementError
from bench.engine.jobs import LibraryJob
from bench.engine.settings import LibraryInfo
from bench.execute import local
from bench.execute.content import Content, Site
from bench.execute.job import Frozen, Job, Share, job_type
from bench.execute.local import LocalExecutor


class Slept(Frozen):
    began: float
    ended: float
    cache: str


class Sleep(Job[Slept]):
    """Sleep, or fail as is asked."""

    done_by: ClassVar[str] = f"{__name__}:sleep"
    seconds: float
    fail: str = ""


class Hang(Sleep):
    """Sleep for longer than anybody waits."""

    def patience(self) -> float:
        return 0.5


class Server(Frozen):
    server: int


class Asked(Job[Server]):
    """Which server a worker is of."""

    done_by: ClassVar[str] = f"{__name__}:asked"


def asked(job: Asked, site: Site, progress: Share) -> Server:
    return Server(server=os.getppid())


def sleep(job: Sleep, site: Site, progress: Share) -> Slept:
    began = time.monotonic()
    progress(0.5)
    time.sleep(job.seconds)
    if job.fail == "bench":
        raise BenchError("impossible as asked")
    if job.fail == "measurement":
        raise MeasurementError("of this one")
    if job.fail:
        Path(job.fail).touch()
    return Slept(began=began, ended=time.monotonic(), cache=str(site.cache))


def test_several_jobs_at_a_time_each_with_its_own_answer(tmp_path: Path) -> None:
    executors = [LocalExecutor(tmp_path / str(i)) for i in range(3)]
    executors[0].do(Sleep(seconds=0))  # what is imported once is imported
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda e: e.do(Sleep(seconds=1.5)), executors))
    assert [Path(f.cache).name for f in found] == ["0", "1", "2"]
    assert max(f.began for f in found) < min(f.ended for f in found), "they were under way side by side"


def workers() -> list[psutil.Process]:
    """Those that are there; one that has ended and that nobody waited for is there too."""
    servers = psutil.Process().children()
    return [worker for server in servers for worker in server.children()]


def test_progress_and_errors_come_back(tmp_path: Path) -> None:
    executor, told = LocalExecutor(tmp_path), list[float]()
    executor.do(Sleep(seconds=0), told.append)
    assert told == [0.5]
    with pytest.raises(BenchError, match="impossible as asked") as impossible:
        executor.do(Sleep(seconds=0, fail="bench"))
    assert not isinstance(impossible.value, MeasurementError)
    with pytest.raises(MeasurementError, match="of this one"):
        executor.do(Sleep(seconds=0, fail="measurement"))


class Abort(Job[Slept]):
    """End as native code does that finds what it did not expect."""

    done_by: ClassVar[str] = f"{__name__}:abort"
    model: Content
    signal: int


def abort(job: Abort, site: Site, progress: Share) -> Slept:
    print("ggml.c:1: GGML_ASSERT(x) failed", flush=True)
    os.kill(os.getpid(), job.signal)
    raise AssertionError("is ended")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGFPE])
def test_what_llama_cpp_aborts_on_is_named_with_its_file(tmp_path: Path, number: int) -> None:
    executor = LocalExecutor(tmp_path)
    (tmp_path / "m.gguf").write_bytes(b"")
    job = Abort(model=executor.hold(tmp_path / "m.gguf"), signal=number)
    with pytest.raises(MeasurementError, match=r"m\.gguf: llama\.cpp gave up .* download or convert it again") as told:
        executor.do(job)
    assert "GGML_ASSERT" not in str(told.value) and "GGML_ASSERT(x)" in str(told.value.__cause__), "--debug shows it"


def test_other_ends_of_a_worker_are_told_as_they_are(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    (tmp_path / "m.gguf").write_bytes(b"")
    with pytest.raises(MeasurementError, match=r"ended by SIGKILL \(out of memory\?\)"):
        executor.do(Abort(model=executor.hold(tmp_path / "m.gguf"), signal=signal.SIGKILL))


def test_an_interrupted_job_leaves_the_next_one_a_worker(tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(share: float) -> None:
        raise Interrupted

    executor = LocalExecutor(tmp_path)
    with pytest.raises(Interrupted):
        executor.do(Sleep(seconds=30), interrupt)
    assert not workers(), "an interrupted job does nothing any more"
    assert executor.do(Sleep(seconds=0)).cache == str(tmp_path)
    assert threading.active_count() < 20


def test_a_job_lies_in_no_folder_that_a_kill_would_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    LocalExecutor(tmp_path / "cache").do(Sleep(seconds=0), lambda _: seen.append(list(tmp_path.iterdir())))
    assert seen == [[]]


def test_a_server_that_is_killed_costs_its_job_only(tmp_path: Path) -> None:
    """The second job is given to a server that has ended while it waited."""
    executor = LocalExecutor(tmp_path)
    server = executor.do(Asked()).server
    os.kill(server, signal.SIGKILL)
    with pytest.raises(MeasurementError, match="SIGKILL"):
        executor.do(Sleep(seconds=0))
    assert executor.do(Asked()).server != server


def test_a_server_that_cannot_be_told_anything_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")

    monkeypatch.setattr(local, "_TO_END", 0.2)
    executor = LocalExecutor(tmp_path)
    with monkeypatch.context() as refused, pytest.raises(MeasurementError, match="the worker process was ended by"):
        refused.setattr(local.socket, "send_fds", refuse)
        executor.do(Sleep(seconds=0))
    assert executor.do(Sleep(seconds=0)).cache == str(tmp_path)


def test_what_the_system_refuses_a_worker_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError) as told:
        LocalExecutor(tmp_path).do(Sleep(seconds=0, fail=str(tmp_path / "none" / "file")))
    assert str(told.value).startswith(
        f"{tmp_path}/none/file: cannot be read or written (No such file or directory); check"
    )


def test_content_lies_in_the_cache_or_where_the_site_was_told(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path / "cache")
    own = tmp_path / "own.txt"
    own.write_text("text")
    held, here = executor.hold(own, "0" * 64), executor.hold(own)
    site = executor.site
    assert site.path(Content(name="tokens/a.npz")) == tmp_path / "cache" / "tokens" / "a.npz"
    assert site.path(held) == site.path(here) == own and held.name == f"sha256/{'0' * 64}"
    assert str(tmp_path) not in held.name + here.name, "no path of one machine is part of a job"
    with pytest.raises(BenchError, match="no such file is known here"):
        Site(cache=tmp_path).path(held)


def all_jobs() -> list[type[Job[Any]]]:
    """Every kind of job in the package."""
    found = []
    for module in pkgutil.walk_packages(bench.__path__, "bench."):
        if module.name.endswith(".jobs"):
            members = vars(importlib.import_module(module.name)).values()
            jobs = [m for m in members if isinstance(m, type) and issubclass(m, Job) and m.__module__ == module.name]
            found += [m for m in jobs if "[" not in m.__name__]  # without those that only give an answer's type
    return found


def test_every_job_names_a_function_that_answers_it() -> None:
    jobs = all_jobs()
    assert len(jobs) > 10
    for job in jobs:
        signature = inspect.signature(job.function(), eval_str=True)
        first, *_ = signature.parameters.values()
        assert first.annotation is job, job
        assert signature.return_annotation is job.answer_type(), job
        assert job_type(job.type_name()) is job


def test_what_is_no_job_is_not_done() -> None:
    assert LibraryJob.answer_type() is LibraryInfo
    with pytest.raises(TypeError, match="is no kind of job"):
        job_type("os:system")


def test_what_hangs_is_ended_and_told(tmp_path: Path) -> None:
    """As a driver may. The next job has a fresh worker."""
    executor = LocalExecutor(tmp_path)
    began = time.monotonic()
    with pytest.raises(MeasurementError, match="it gave no answer in 0 seconds"):
        executor.do(Hang(seconds=600))
    assert time.monotonic() - began < 60
    assert executor.do(Hang(seconds=0)).cache
