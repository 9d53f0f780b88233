"""The declaration of tasks as a measure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.core.formats import markdown
from bench.measures.frames import Frame
from bench.measures.measure import Measure
from bench.measures.plan import Foreseen, Plan, Stage
from bench.measures.sections import FileColumn, Section, Table
from bench.measures.tasks.ask import NoTemplateError
from bench.measures.tasks.frames import FRAMES
from bench.measures.tasks.options import Asked
from bench.measures.tasks.pairs import pairs_key, pairs_table
from bench.measures.tasks.records import AnswerRecord, TaskRecord
from bench.measures.tasks.runs import tasks_of
from bench.measures.tasks.sources import foreseen_tokens, tasks_asked
from bench.measures.tasks.stage import Tasks, put
from bench.measures.tasks.statistics import scores_of
from bench.measures.tasks.tables import failures, key, summary_table, task_table, uninformative
from bench.records.record import Record
from bench.records.run import Run

#: What the column of files means.
_MEAN = "Tasks: mean share of right answers over tasks that the reference is better than guessing in"


class TaskMeasure(Measure):
    """Tasks: questions with right answers, put to every file."""

    name = "tasks"
    order = 22
    records: ClassVar[tuple[type[Record], ...]] = (AnswerRecord, TaskRecord)
    options = Asked

    def stage(self, plan: Plan, asked: Asked) -> Stage | None:
        found = []
        for task in tasks_asked(asked):
            try:
                found.append(put(task, plan.work, asked))
            except NoTemplateError as e:  # such a model still answers the other tasks
                plan.work.reporter.warn(str(e))
        return Tasks(plan, tuple(found)) if found else None

    def foreseen(self, asked: Asked, window: int, windows: int) -> Foreseen | None:
        tasks = tasks_asked(asked)
        return Foreseen(Tasks.title, sum(map(foreseen_tokens, tasks)), len(tasks)) if tasks else None

    def repeat(self, run: Run) -> Sequence[str]:
        tasks = tasks_of(run)
        if not tasks:
            return []
        # one command has one limit: tasks that were asked otherwise are a command of their own, and the facts say which
        last = tasks[-1]
        asked = ["--tasks", ",".join(dict.fromkeys(t.asked for t in tasks if t.put == last.put))]
        return asked + shlex.split(last.put)

    def identities(self, run: Run) -> Mapping[str, object]:
        tasks = tasks_of(run)
        apart = {f"{t.name}, asked apart": f"--tasks {t.asked}{t.put}" for t in tasks if t.put != tasks[-1].put}
        return {f"{t.name}, {t.source}, SHA-256": t.sha256 for t in tasks} | apart

    def sections(self, run: Run) -> Sequence[Section]:
        found = []
        if len(summary := summary_table(run)):
            table = Table("tasks-summary", "Share of right answers by task", summary)
            found.append(Section("Tasks", "tasks", (table,)))
        if len(pairs := pairs_table(run)):
            title = "Answers of mixed recipes against the file of the same type or size"
            found.append(Section(title, "task-pairs", (Table("tasks-paired", title, pairs, key=pairs_key(run)),)))
        tables = [
            Table(
                f"task-{n}-scores",
                f"{task.name}: {task.items} questions ({task.source})",
                frame,
                key=key(scores_of(run, task), chance=task.chance, settings=task.settings),
                label=f"{task.name}: {task.items} questions ({task.source})",
            )
            for n, task in enumerate(tasks_of(run))
            if len(frame := task_table(run, task))
        ]
        if tables:
            found.append(Section("Task by task", "task-by-task", tuple(tables), folded=True))
        return found

    def file_columns(self, run: Run) -> Sequence[FileColumn]:
        summary = summary_table(run)
        if not len(summary):
            return []
        cells = dict(zip(summary["Recipe"], summary["Mean"], strict=True))
        values = {name: float(mean.rstrip("%")) for name, mean in cells.items()}
        return [FileColumn("Tasks", cells, values, card=_MEAN)]

    def file_key(self, run: Run, *, everywhere: bool) -> Sequence[str]:
        return [_MEAN] if len(summary_table(run)) else []

    def shortfalls(self, run: Run) -> Sequence[str]:
        return failures(run)

    def notes(self, run: Run) -> Sequence[str]:
        return [*uninformative(run), *failures(run)]

    def frames(self) -> Sequence[Frame]:
        return FRAMES

    def quotes(self, run: Run) -> Mapping[str, str]:
        """The summary, and the table of the task with most questions."""
        tasks = [t for t in tasks_of(run) if len(task_table(run, t))]
        if not tasks:
            return {}
        most = max(tasks, key=lambda t: t.items)
        told = key(scores_of(run, most), chance=most.chance, settings=most.settings)
        quoted = {"task": f"{markdown(task_table(run, most))}\n\n{told}"}
        if len(pairs := pairs_table(run)):
            quoted["task-pairs"] = f"{markdown(pairs)}\n\n{pairs_key(run)}"
        return quoted | ({"tasks": markdown(found)} if len(found := summary_table(run)) else {})

    def json(self, run: Run) -> Mapping[str, object]:
        pairs = pairs_table(run)
        paired: dict[str, object] = {"task_pairs": pairs.to_dict("records")} if len(pairs) else {}
        return paired | {"tasks": {t.name: task_table(run, t).to_dict("records") for t in tasks_of(run)}}


MEASURE = TaskMeasure()
