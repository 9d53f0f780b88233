"""Timing with pytest-benchmark, inside the worker process that holds the model.

Each round is prepared (setup, not timed), is timed by pytest-benchmark's `pedantic` mode around `llama_decode` alone, and is
scored afterwards (teardown, not timed). The clock is the process's own: it stands still while other files have their
turn (execute/siblings.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.core.errors import MeasurementError
from bench.measures.windows.timed import Timed


@dataclass
class _Session:
    """The pytest plugin that hands the timed objects to timed_suite.py and takes what it measured."""

    subjects: list[Timed]
    seconds: dict[str, list[float]]
    error: BaseException | None = None

    @pytest.fixture
    def subject(self, request: pytest.FixtureRequest) -> Timed:
        found: Timed = request.param
        return found

    @pytest.fixture
    def keep(self, subject: Timed) -> Callable[[list[float]], None]:
        return lambda seconds: self.seconds.__setitem__(subject.name, list(seconds))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("subject", self.subjects, indirect=True, ids=[s.name for s in self.subjects])

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None and self.error is None:
            self.error = call.excinfo.value


def time_rounds(subjects: list[Timed]) -> dict[str, list[float]]:
    """Seconds of every round, by the subject's name. An error in a round is raised as it is."""
    session = _Session(subjects, {})
    suite = Path(__file__).with_name("timed_suite.py")
    # A session of its own: no settings, conftest or plugins of the directory it happens to run in.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for variable in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        os.environ.pop(variable, None)
    status = pytest.main(
        [
            str(suite),
            "-q",
            "-s",
            "-x",  # others wait for the turn of a subject that failed
            "-c",
            os.devnull,
            "--rootdir",
            str(suite.parent),
            "--noconftest",
            "-p",
            "no:cacheprovider",
            "-p",
            "pytest_benchmark.plugin",
            f"--benchmark-storage=file://{os.devnull}",  # or it makes a folder where it runs
            "--benchmark-timer=bench.execute.siblings.own_time",  # which stands still while others have their turn
            "--benchmark-disable-gc",
            "--benchmark-quiet",
        ],
        plugins=[session],
    )
    if session.error is not None:
        raise session.error
    if status != pytest.ExitCode.OK:
        raise MeasurementError(f"pytest-benchmark ended with {status!r} and timed nothing")
    return session.seconds
