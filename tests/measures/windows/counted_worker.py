"""Passes and rounds on a machine whose counter of energy is made up: it takes 50 W all the time, whoever computes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from bench.core.energy import Counter, _Domain
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.windows import pieces, score, side_by_side, throughput_worker
from bench.measures.windows.jobs import PassJob, PassResult
from bench.measures.windows.throughput_jobs import RoundJob, RoundsResult

WATTS = 50


class CountedPassJob(PassJob):
    done_by: ClassVar[str] = "tests.measures.windows.counted_worker:counted"


class CountedRoundJob(RoundJob):
    done_by: ClassVar[str] = "tests.measures.windows.counted_worker:counted_round"


@contextmanager
def _growing() -> Iterator[Counter]:
    yield Counter("perf", [_Domain(lambda: int(time.perf_counter() * WATTS * 1e6), 1e-6, 2**60)], memory=True)


def counted(job: CountedPassJob, site: Site, progress: Share) -> PassResult:
    score.energy_counter = _growing  # type: ignore[assignment]
    pieces._TURN = 0.001  # so that files of a tiny model give way in the middle of a step
    return side_by_side.pass_job(job, site, progress)


def counted_round(job: CountedRoundJob, site: Site, progress: Share) -> RoundsResult:
    throughput_worker.energy_counter = _growing  # type: ignore[assignment]
    return throughput_worker.round_job(job, site, progress)
