"""The importance matrix, from sums that sites make of parts of the calibration text."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import ClassVar

from bench.cluster.connection import Question
from bench.cluster.protocol import SumsAnswer, SumsRequest
from bench.cluster.sites import Member, Sites
from bench.cluster.units import spread
from bench.core.progress import Steps
from bench.quantize.sums import Sums, parts_of
from bench.workbench.work import Work


def collect_elsewhere(sites: Sites, work: Work) -> None:
    """Have the matrix made and kept, unless it is there. Where a part fails, nothing is kept, and whoever needs the matrix makes it."""
    chunks = work.chunks_to_sum
    if not chunks:
        return
    with sites.reporter.steps("Importance matrix", parts_of(chunks)) as steps:
        task = _Summing(sites, chunks, steps)
        failed = spread(sites, task, range(parts_of(chunks)), only=lambda site, _: sites.scores(site))
    if not failed:
        work.keep_importance(task.total, chunks)


@dataclass
class _Summing:
    """total: of the parts that came without a gap; later ones wait, since sums are added in their order."""

    sites: Sites
    chunks: int
    steps: Steps
    total: Sums = field(default_factory=Sums)
    _added: int = 0
    _waiting: dict[int, Sums] = field(default_factory=dict)
    question: ClassVar[Question] = "sums"
    answers: type[SumsAnswer] = SumsAnswer

    def request(self, unit: int) -> str:
        """unit: the number of a part."""
        return SumsRequest(setup=self.sites.key, part=unit, chunks=self.chunks).model_dump_json()

    def take(self, unit: int, site: Member, answer: SumsAnswer) -> None:
        self._waiting[unit] = Sums.loaded(base64.b64decode(answer.sums))
        while self._added in self._waiting:
            self.total.add(self._waiting.pop(self._added))
            self._added += 1
        self.steps.name(site.name)
        self.steps.done()

    def give_up(self, unit: int, reason: str) -> None:
        self.sites.reporter.warn(f"Importance matrix: a part failed at {reason}; the coordinator makes the matrix")
