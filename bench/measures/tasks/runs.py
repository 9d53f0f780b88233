"""Tasks in a run, read from its records."""

from __future__ import annotations

from bench.measures.tasks.records import AnswerRecord, TaskIdentity, TaskRecord
from bench.records.run import Run


def _tasks(run: Run) -> list[TaskIdentity]:
    last = {r.task.name: r.task for r in run.of(TaskRecord)}
    return list({t.key: t for t in last.values()}.values())


def tasks_of(run: Run) -> list[TaskIdentity]:
    """Tasks that some file has finished, in the order in which they were first judged; of one asked in several ways the last."""
    return run.view(_tasks)


def _answers(run: Run) -> dict[str, dict[str, dict[int, AnswerRecord]]]:
    found: dict[str, dict[str, dict[int, AnswerRecord]]] = {}
    for r in run.current(AnswerRecord):
        found.setdefault(r.task.key, {}).setdefault(r.recipe, {})[r.batch] = r
    return found


def answers_of(run: Run, key: str) -> dict[str, dict[int, AnswerRecord]]:
    """Answers on record by file and batch, of the files as they are recorded now."""
    return run.view(_answers).get(key, {})


def _judged(run: Run) -> dict[str, dict[str, TaskRecord]]:
    found: dict[str, dict[str, TaskRecord]] = {}
    for r in run.current(TaskRecord):
        found.setdefault(r.task.key, {})[r.recipe] = r
    return found


def judged_of(run: Run, key: str) -> dict[str, TaskRecord]:
    """What came of a task by file, in the order of the run's files."""
    found = run.view(_judged).get(key, {})
    return {name: found[name] for name in run.files if name in found}
