"""The sweep's stage that puts tasks to files: batch by batch, then the answers of each file are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.measures.plan import File, Part, Plan
from bench.measures.tasks.ask import Encoded, check_memory, encoded_task, put_together
from bench.measures.tasks.jobs import AnswerJob, AnswerResult
from bench.measures.tasks.options import Asked
from bench.measures.tasks.questions import Task
from bench.measures.tasks.records import AnswerRecord, TaskIdentity, TaskRecord, judged_items
from bench.measures.tasks.runs import answers_of, judged_of
from bench.records.run import Run
from bench.records.store import RunStore
from bench.workbench.work import Work


@dataclass(frozen=True)
class Put:
    """A task as it is put to one model."""

    task: Task
    identity: TaskIdentity
    encoded: Encoded

    @property
    def batches(self) -> int:
        return self.encoded.batches


def put(task: Task, work: Work, asked: Asked) -> Put:
    """A task for the reference's vocabulary. Raises BenchError where nothing of it can be asked."""
    found = encoded_task(task, work)
    identity = TaskIdentity(
        name=task.name,
        asked=task.asked,
        source=task.source,
        sha256=task.sha256,
        items=task.items,
        chance=task.chance,
        settings=task.settings,
        limit=asked.limit,
        shots=asked.shots,
        template=asked.task_template,
        directory=None if asked.task_path is None else asked.task_path.absolute().name,
        key=found.key,
        judge=task.judge_sha256,
        cut=found.cut,
    )
    return Put(task, identity, found)


@dataclass(frozen=True)
class Tasks:
    """Tasks, put to all files of a plan."""

    plan: Plan
    tasks: tuple[Put, ...]
    title: str = "Tasks"

    def pending(self, run: Run) -> set[str]:
        found = {name for names in self._pending(run).values() for name in names}
        if self.plan.part == Part():  # where only a part is measured, nothing is judged
            found |= {name for task in self.tasks for name in self._unjudged(task, run)}
        return found

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * sum(t.batches for t in self.tasks)
        return total - sum(map(len, self._pending(run).values())), total

    def _pending(self, run: Run) -> dict[tuple[int, int], list[str]]:
        """Files that have not answered, by task and batch."""
        found = {}
        first = 0
        for n, task in enumerate(self.tasks):
            known, done = answers_of(run, task.identity.key), judged_of(run, task.identity.key)
            for batch in range(task.batches):
                if self.plan.part.has(index=first + batch):
                    left = [f for f in self.plan.names if f not in done and batch not in known.get(f, {})]
                    if left:
                        found[n, batch] = left
            first += task.batches
        return found

    def _unjudged(self, task: Put, run: Run) -> list[str]:
        """Files that are not judged, or were by other rules, whether all their answers are there or not."""
        known = judged_of(run, task.identity.key)
        return [n for n in self.plan.names if n not in known or known[n].task.judge != task.identity.judge]

    def parts(self, run: Run) -> list[Part]:
        """Batch by batch, over all tasks."""
        starts = [sum(t.batches for t in self.tasks[:n]) for n in range(len(self.tasks))]
        return [Part(indices=(starts[n] + batch,)) for n, batch in self._pending(run)]

    def check_room(self) -> None:
        """Raise BenchError where memory cannot hold what texts that are written side by side take beside a model."""
        for task in self.tasks:
            check_memory(task.identity.name, task.encoded, self.plan.work)

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put the answers of every file on record, file by file, and judge those of which all are there. A failure costs one batch of one file."""
        work = self.plan.work
        todo = [(f, n, b) for (n, b), names in self._pending(store.run).items() for f in names if f in files]
        order = {name: i for i, name in enumerate(self.plan.names)}
        with work.reporter.steps(self.title, len(todo)) as steps:
            for name, n, batch in sorted(todo, key=lambda t: (t[1], order[t[0]], t[2])):
                task = self.tasks[n]
                steps.name(f"{task.identity.name}, {name}, batch {batch + 1} of {task.batches}")
                job = AnswerJob(
                    model=files[name].content, tasks=task.encoded.content, batch=batch, threads=work.threads
                )
                try:
                    answer = work.executor.do(job, steps.share)
                except BenchError as e:
                    work.reporter.warn(f"{name}, {task.identity.name}, batch {batch + 1}: {e}")
                else:
                    store.append(
                        AnswerRecord(
                            run=store.run.header.id,
                            recipe=name,
                            sha256=store.run.files[name].sha256,
                            task=task.identity,
                            batch=batch,
                            batches=task.batches,
                            probabilities=answer.probabilities,
                            written=answer.written,
                        )
                    )
                steps.done()
        if self.plan.part == Part():
            self.looked(store)

    def looked(self, store: RunStore) -> bool:
        """Judge what is answered in full and not judged; nothing that is measured depends on it."""
        for task in self.tasks:
            for name in self._unjudged(task, store.run):
                known = answers_of(store.run, task.identity.key).get(name, {})
                if len(known) == task.batches:
                    store.append(
                        _judged(
                            store.run,
                            name,
                            task,
                            [AnswerResult(probabilities=r.probabilities, written=r.written) for r in known.values()],
                        )
                    )
        return False


def _judged(run: Run, name: str, task: Put, answers: Sequence[AnswerResult]) -> TaskRecord:
    given = put_together(len(task.task.requests), answers, task.encoded.failed)
    return TaskRecord(
        run=run.header.id,
        recipe=name,
        sha256=run.files[name].sha256,
        task=task.identity,
        items=judged_items(task.task.judge(given)),
    )
