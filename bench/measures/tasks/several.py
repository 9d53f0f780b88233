"""Tasks put to any files, outside a run: the comparison of `tasks`. Answers are kept in the cache, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.files import told_apart
from bench.core.progress import Reporter
from bench.measures.tasks.ask import Encoded, NoTemplateError, answer_all, check_memory, encoded_task, put_together
from bench.measures.tasks.questions import Task
from bench.measures.tasks.records import ItemScore, judged_items
from bench.measures.tasks.statistics import Score, scores_between
from bench.measures.tasks.tables import key, score_table
from bench.models.sources import local_model
from bench.statistics.estimates import Estimate
from bench.workbench.options import Options
from bench.workbench.work import Work

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Answered:
    """A task with what came of it, by file, the first that the others are compared with."""

    task: Task
    found: dict[str, tuple[ItemScore, ...]]

    @property
    def scores(self) -> dict[str, Score]:
        return scores_between(self.found, next(iter(self.found), None), self.task.chance)

    def table(self) -> pd.DataFrame:
        return score_table(self.scores)

    def key(self) -> str:
        """What its columns mean; why there is no table where there is none."""
        if not self.scores:
            failures = (i.failure for items in self.found.values() for i in items if i.failure)
            return f"No question has a score: {next(failures, 'no file answered all')}."
        return key(self.scores, chance=self.task.chance, settings=self.task.settings)

    def json(self) -> dict[str, object]:
        """For programs. Names of columns are those of `export --table task_scores`."""
        files = {}
        for name, s in self.scores.items():
            p = s.pairing
            files[name] = {
                "metric": s.metric,
                "questions": s.n,
                "accuracy": _figure(s.accuracy),
                "others": dict(s.others),
                "unended": s.unended,
                "failed": s.failed,
                "lost": p and p.lost,
                "won": p and p.won,
                "p": p and p.p,
                "kept": _figure(p.kept if p else None),
                "margin_change": _figure(p.margin if p else None),
                "items": [i.model_dump() for i in self.found[name]],
            }
        return {"task": self.task.name, "source": self.task.source, "sha256": self.task.sha256, "files": files}


def _figure(found: Estimate | None) -> dict[str, float | None] | None:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def put_to_files(
    options: Options, reporter: Reporter, named: Sequence[str], tasks: Sequence[Task]
) -> tuple[list[Answered], bool]:
    """What came of tasks, and whether all of it could be had: what a file cannot be asked, or fails to answer, is told and left out.

    Each file answers in the tokens of its own vocabulary, and with its own chat template. Raises BenchError for what is no model.
    """
    paths = [local_model(name, options.cache, reporter).path for name in named]
    works = {
        name: Work(replace(options, model=str(path), allow_quantized=True), reporter)
        for name, path in zip(told_apart(paths), paths, strict=True)
    }
    # all is encoded before anything is asked, so that what cannot be asked costs nothing
    asked = {name: [_encoded(task, work, name) for task in tasks] for name, work in works.items()}
    for name, work in works.items():
        for there in filter(None, asked[name]):
            check_memory(name, there, work)
    found: list[Answered] = []
    total = sum(e.batches for of in asked.values() for e in of if e is not None)
    whole = all(e is not None for of in asked.values() for e in of)
    with reporter.steps("Tasks", total) as steps:
        for n, task in enumerate(tasks):
            judged: dict[str, tuple[ItemScore, ...]] = {}
            for name, work in works.items():
                if (encoded := asked[name][n]) is None:
                    continue
                steps.name(f"{task.name}, {name}")
                try:
                    results = answer_all(work, work.model, work.reference.sha256, encoded, steps)
                except BenchError as e:
                    reporter.warn(f"{name}, {task.name}: {e}")
                    whole = False
                    continue
                judged[name] = judged_items(task.judge(put_together(len(task.requests), results, encoded.failed)))
            found.append(Answered(task, judged))
    return found, whole


def _encoded(task: Task, work: Work, name: str) -> Encoded | None:
    try:
        return encoded_task(task, work)
    except NoTemplateError as e:
        work.reporter.warn(f"{name}: {e}")
        return None
