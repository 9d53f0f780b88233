"""The sweep's stage that puts tasks to files: batch by batch, then the answers of each file are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.checked import FileNote, read_checked, tell_damage, write_checked
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256, short_hash
from bench.execute.content import Content
from bench.measures.plan import File, Part, Plan
from bench.measures.tasks.jobs import AnswerJob, EncodeJob, EncodeResult, Requests
from bench.measures.tasks.questions import Answer, Task
from bench.measures.tasks.records import AnswerRecord, ItemScore, TaskIdentity, TaskRecord
from bench.measures.tasks.runs import answers_of, judged_of
from bench.records.run import Run
from bench.records.store import RunStore
from bench.workbench.work import Work

#: Part of every key: raise it when requests are turned into other tokens, or into other batches.
_ENCODING = 1
#: Tokens that a request may have with what is written for it, where the model's context allows it.
_CONTEXT = 8192


@dataclass(frozen=True)
class Encoded:
    """A task as it is put to one model. weights: tokens, about, of each batch; failed: why requests cannot be asked, by their number."""

    task: Task
    identity: TaskIdentity
    content: Content
    weights: tuple[int, ...]
    failed: Mapping[int, str]


class _Note(FileNote):
    """Of an encoded task that is kept."""

    result: EncodeResult


def encoded(task: Task, work: Work, *, limit: int | None, shots: int | None, template: bool) -> Encoded:
    """A task in the tokens of the reference's vocabulary. Raises BenchError where nothing of it can be asked."""
    reference = work.reference
    chats = any(getattr(r, "chat", False) for r in task.requests)
    form = reference.chat_template if chats else None
    if chats and form is None:
        raise BenchError(f"{task.name}: {reference.info.name} has no chat template; leave the task out")
    context = min(_CONTEXT, reference.info.context_length or _CONTEXT)
    key = short_hash(_ENCODING, work.library.binding, context, task.sha256, reference.info.vocabulary_sha256, form)
    identity = TaskIdentity(
        name=task.name,
        asked=task.asked, source=task.source, sha256=task.sha256, items=task.items, chance=task.chance, settings=task.settings,
        limit=limit, shots=shots, template=template, key=key,
    )  # fmt: skip
    site = work.executor.site
    asked, out = Content(name=f"tokens/tasks-{key}.requests.json"), Content(name=f"tokens/tasks-{key}.json")
    note, path = site.path(out).with_suffix(".note"), site.path(out)
    kept = read_checked(note, _Note, work.reporter.warn)
    if kept is not None and path.is_file():
        if file_sha256(path) == kept.sha256:
            return Encoded(task, identity, out, kept.result.weights, kept.result.failed)
        tell_damage(path, work.reporter.warn)
    with complete_or_absent(site.path(asked)) as partial:
        partial.write_text(Requests(requests=task.requests).model_dump_json(), encoding="utf-8")
    result = work.executor.do(EncodeJob(model=work.model, requests=asked, template=form, context=context, out=out))
    write_checked(note, _Note(sha256=file_sha256(path), result=result))
    if result.cut:
        work.reporter.warn(
            f"{task.name}: {result.cut} of {len(task.requests)} texts are longer than the {context} tokens of the context and lose their beginning"
        )
    return Encoded(task, identity, out, result.weights, result.failed)


@dataclass(frozen=True)
class Tasks:
    """Tasks, put to all files of a plan."""

    plan: Plan
    tasks: tuple[Encoded, ...]
    title: str = "Tasks"

    def pending(self, run: Run) -> set[str]:
        return {name for task in self.tasks for name in self._unjudged(task, run)} | {
            name for names in self._pending(run).values() for name in names
        }

    def progress(self, run: Run) -> tuple[int, int]:
        total = len(self.plan.names) * sum(len(t.weights) for t in self.tasks)
        return total - sum(map(len, self._pending(run).values())), total

    def _pending(self, run: Run) -> dict[tuple[int, int], list[str]]:
        """Files that have not answered, by task and batch."""
        found = {}
        first = 0
        for n, task in enumerate(self.tasks):
            known, done = answers_of(run, task.identity.key), judged_of(run, task.identity.key)
            for batch in range(len(task.weights)):
                if self.plan.part.has(index=first + batch):
                    left = [f for f in self.plan.names if f not in done and batch not in known.get(f, {})]
                    if left:
                        found[n, batch] = left
            first += len(task.weights)
        return found

    def _unjudged(self, task: Encoded, run: Run) -> list[str]:
        """Files that are not judged, whether all their answers are there or not."""
        return [n for n in self.plan.names if n not in judged_of(run, task.identity.key)]

    def parts(self, run: Run) -> list[Part]:
        """Batch by batch, over all tasks."""
        starts = [sum(len(t.weights) for t in self.tasks[:n]) for n in range(len(self.tasks))]
        return [Part(indices=(starts[n] + batch,)) for n, batch in self._pending(run)]

    def check_room(self) -> None:
        """A step's logits are all that answering holds beside a model."""

    def measure(self, store: RunStore, files: Mapping[str, File]) -> None:
        """Put the answers of every file on record, file by file, and judge those of which all are there. A failure costs one batch of one file."""
        work = self.plan.work
        todo = [(f, n, b) for (n, b), names in self._pending(store.run).items() for f in names if f in files]
        order = {name: i for i, name in enumerate(self.plan.names)}
        with work.reporter.steps(self.title, len(todo)) as steps:
            for name, n, batch in sorted(todo, key=lambda t: (t[1], order[t[0]], t[2])):
                task = self.tasks[n]
                steps.name(f"{task.identity.name}, {name}, batch {batch + 1} of {len(task.weights)}")
                job = AnswerJob(model=files[name].content, tasks=task.content, batch=batch, threads=work.threads)
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
                            batches=len(task.weights),
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
                if len(known) == len(task.weights):
                    store.append(_judged(store.run, name, task, list(known.values())))
        return False


def _judged(run: Run, name: str, task: Encoded, answers: Sequence[AnswerRecord]) -> TaskRecord:
    by_request: dict[int, Answer | str] = dict(task.failed)
    for record in answers:
        by_request.update((a.request, a) for a in record.probabilities)
        by_request.update((a.request, a) for a in record.written)
    given = [by_request.get(n, "it was not answered") for n in range(len(task.task.requests))]
    items = [
        ItemScore(item=j.item, group=j.group, scores=dict(j.scores), margin=j.margin, ended=j.ended, failure=j.failure)
        for j in task.task.judge(given)
    ]
    return TaskRecord(
        run=run.header.id, recipe=name, sha256=run.files[name].sha256, task=task.identity, items=tuple(items)
    )
