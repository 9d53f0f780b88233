"""Requests put to files: encoded once for a vocabulary, and answered batch by batch, in a run or outside of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.checked import FileNote, read_checked, tell_damage, write_checked
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256, short_hash
from bench.core.progress import Steps
from bench.engine.memory import ModelShape, machine_memory, shape_of
from bench.execute.content import Content
from bench.measures.tasks.jobs import (
    AnswerJob,
    AnswerResult,
    Continuation,
    EncodeJob,
    EncodeResult,
    Request,
    Requests,
    Writing,
)
from bench.measures.tasks.questions import Answer, Task
from bench.workbench.work import Work

#: Part of every key: raise it when requests are turned into other tokens, or into other batches; the second where something is written.
_ENCODING, _ENCODING_WRITINGS = 2, 3
#: Tokens that a request may have with what is written for it, where the model's context allows it.
_CONTEXT = 8192
#: Bytes of a number of the cache.
_F16 = 2


@dataclass(frozen=True)
class Encoded:
    """Requests in the tokens of a vocabulary. key: of them as the model reads them; batches: how many there are; cut: how many requests lost their
    beginning; failed: why requests cannot be asked, by their number; side, room: most texts that are written side by side, and tokens that such a batch may have."""

    key: str
    content: Content
    batches: int
    cut: int
    failed: Mapping[int, str]
    side: int
    room: int

    def memory(self, shape: ModelShape) -> int:
        """Bytes of keys and values, or of states, of the batch that takes most."""
        return self.room * shape.kv_numbers * _F16 + self.side * shape.state_bytes


class NoTemplateError(BenchError):
    """A model without a chat template is asked for conversations."""


class _EncodedNote(FileNote):
    """Of encoded requests that are kept."""

    result: EncodeResult


def encoded(name: str, requests: Sequence[Request], sha256: str, work: Work) -> Encoded:
    """Requests for the reference's vocabulary. name: of what asks, for messages; sha256: of all that is asked. Raises BenchError where nothing of it can be."""
    reference = work.reference
    chats = any(isinstance(r, Continuation | Writing) and r.chat for r in requests)
    form = reference.chat_template if chats else None
    if chats and form is None:
        raise NoTemplateError(f"{name}: {reference.info.name} has no chat template, so this task is left out for it")
    context = min(_CONTEXT, reference.info.context_length or _CONTEXT)
    form_of_batches = _ENCODING_WRITINGS if any(isinstance(r, Writing) for r in requests) else _ENCODING
    key = short_hash(form_of_batches, work.library.binding, context, sha256, reference.info.vocabulary_sha256, form)
    site, out = work.executor.site, Content(name=f"tokens/tasks-{key}.jsonl")
    path = site.path(out)
    note = path.with_suffix(".note")
    kept = read_checked(note, _EncodedNote, work.reporter.warn)
    if kept is not None and path.is_file():
        if file_sha256(path) == kept.sha256:
            return _told(name, _of(key, out, kept.result), context, work)
        tell_damage(path, work.reporter.warn)
    asked = Content(name=f"tokens/tasks-{key}.requests.json")
    with complete_or_absent(site.path(asked)) as partial:
        partial.write_text(Requests(requests=tuple(requests)).model_dump_json(), encoding="utf-8")
    result = work.executor.do(EncodeJob(model=work.model, requests=asked, template=form, context=context, out=out))
    write_checked(note, _EncodedNote(sha256=file_sha256(path), result=result))
    return _told(name, _of(key, out, result), context, work)


def _of(key: str, content: Content, result: EncodeResult) -> Encoded:
    return Encoded(key, content, result.batches, result.cut, result.failed, result.side, result.room)


def _told(name: str, found: Encoded, context: int, work: Work) -> Encoded:
    """The same, with a word on what does not fit into the context."""
    if found.cut:
        work.reporter.warn(
            f"{name}: {found.cut} texts are longer than the {context} tokens of the context and lose their beginning"
        )
    return found


def put_together(task_requests: int, answers: Sequence[AnswerResult], failed: Mapping[int, str]) -> list[Answer | str]:
    """Answers in the order of the requests, with the reason for those that there are none of."""
    found: dict[int, Answer | str] = dict(failed)
    for result in answers:
        found.update((a.request, a) for a in result.probabilities)
        found.update((a.request, a) for a in result.written)
    return [found.get(n, "it was not answered") for n in range(task_requests)]


class _AnswersNote(FileNote):
    """Answers of a file that are kept in the cache."""

    result: AnswerResult


def answer_all(work: Work, file: Content, sha256: str, asked: Encoded, steps: Steps) -> list[AnswerResult]:
    """A file's answers to all batches, each kept in the cache as soon as it is there. sha256: of the file; steps: one a batch."""
    found = []
    for batch in range(asked.batches):
        key = short_hash(asked.key, sha256, batch, work.library.binding, work.library.isa)
        note = work.options.cache.absolute() / "answers" / f"{key}.json"
        kept = read_checked(note, _AnswersNote, work.reporter.warn)
        if kept is None:
            job = AnswerJob(model=file, tasks=asked.content, batch=batch, threads=work.threads)
            kept = _AnswersNote(sha256=sha256, result=work.executor.do(job, steps.share))
            write_checked(note, kept)
        found.append(kept.result)
        steps.done()
    return found


def encoded_task(task: Task, work: Work) -> Encoded:
    """A task in the tokens of the reference's vocabulary."""
    return encoded(task.name, task.requests, task.sha256, work)


def check_memory(name: str, asked: Encoded, work: Work) -> None:
    """Raise BenchError where memory cannot hold what texts that are written side by side take beside a model. name: of the task."""
    info = work.reference.info
    try:
        needed, memory = asked.memory(shape_of(info.path)), machine_memory()
    except BenchError:  # an architecture that does not state its layers
        return
    if needed > memory.available:
        raise BenchError(
            f"{name}: the {asked.side} texts that are written side by side need {needed / 1e9:,.1f} GB for keys and values and "
            f"{memory.available / 1e9:,.1f} GB are available; end other programs or leave this task out of --tasks"
        )
    if info.n_bytes + needed > memory.total:
        work.reporter.warn(
            f"{name}: {info.name} with {asked.side} texts side by side takes {(info.n_bytes + needed) / 1e9:,.1f} GB and this machine has "
            f"{memory.total / 1e9:,.1f}: it is read from the disk again and again, which takes its time"
        )
