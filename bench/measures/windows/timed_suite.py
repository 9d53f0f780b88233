"""The suite that pytest-benchmark runs, once for every subject that timing.time_rounds passes to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from bench.measures.windows.timed import Timed


def test_timed(benchmark: BenchmarkFixture, subject: Timed, keep: Callable[[list[float]], None]) -> None:
    rounds: Any = benchmark.pedantic
    rounds(subject.target, setup=subject.setup, teardown=subject.teardown, rounds=subject.rounds, iterations=1)
    assert benchmark.stats is not None
    keep(benchmark.stats.stats.data)
