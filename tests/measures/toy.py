"""A measure in a few lines: the likeliest token of every file after a short text. It stands here and nowhere in bench/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pandas as pd

from bench.execute.content import Content
from bench.execute.job import Frozen, Job
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import File, Plan
from bench.measures.sections import Section, Table
from bench.records.record import OfFile, Record
from bench.records.run import Run
from bench.records.store import RunStore


class Likeliest(Frozen):
    token: int


class LikeliestJob(Job[Likeliest]):
    done_by: ClassVar[str] = "tests.measures.toy_worker:likeliest"
    model: Content


class LikeliestRecord(OfFile):
    kind: Literal["likeliest"] = "likeliest"
    token: int


@dataclass(frozen=True)
class LikeliestStage:
    plan: Plan
    title: str = "Likeliest token"

    def pending(self, run: Run) -> set[str]:
        return set(self.plan.names) - {r.recipe for r in run.current(LikeliestRecord)}

    def progress(self, run: Run) -> tuple[int, int]:
        return len(self.plan.names) - len(self.pending(run)), len(self.plan.names)

    def check_room(self) -> None: ...

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        for name in sorted(self.pending(store.run) & files.keys(), key=self.plan.names.index):
            found = self.plan.work.executor.do(LikeliestJob(model=files[name].content))
            sha256 = store.run.files[name].sha256
            store.append(LikeliestRecord(run=store.run.header.id, recipe=name, sha256=sha256, token=found.token))


def _frame(run: Run) -> pd.DataFrame:
    return pd.DataFrame({"recipe": r.recipe, "token": r.token} for r in run.current(LikeliestRecord))


class Toy(Measure):
    name = "toy"
    records: ClassVar[tuple[type[Record], ...]] = (LikeliestRecord,)

    def stage(self, plan: Plan, asked: Any) -> LikeliestStage:
        return LikeliestStage(plan)

    def sections(self, run: Run) -> Sequence[Section]:
        table = Table("toy-table", "Likeliest token of every file", _frame(run).astype(str))
        return [Section("Likeliest token", "toy", (table,))]

    def frames(self) -> Sequence[Frame]:
        return [Frame("likeliest", _frame, attribute="likeliest")]


TOY = Toy()
