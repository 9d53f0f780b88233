"""Making traces: the reference answers conversations one after the other, and a file of them is written.

A conversation that is finished is kept in the cache, so an interrupted command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.checked import read_checked, write_checked
from bench.core.errors import BenchError, MeasurementError
from bench.core.files import complete_or_absent, short_hash
from bench.gguf_files.header import tokens_sha256
from bench.measures.problems.sets import CHAT, problem_set
from bench.texts.conversations import Conversation
from bench.texts.traces import Header, Message, Talk, Traces, Writer, read_traces, traces_text
from bench.traces.jobs import TalkJob
from bench.workbench.checks import check_window
from bench.workbench.work import Work

#: Part of every key: raise it when the same request makes other conversations.
_TALKS = 1
#: Tokens of an answer at most, unless told.
DEFAULT_TOKENS = 512


@dataclass(frozen=True)
class Asked:
    """How traces are made. conversations: a file of JSON lines with messages, None for the fixed ones; the others as in texts/traces.py, where the
    length of a passage is the window of the options."""

    seed: int = 1
    turns: int = 0
    tokens: int = DEFAULT_TOKENS
    temperature: float = 1.0
    conversations: Path | None = None


def make_traces(work: Work, out: Path, asked: Asked, *, force: bool = False) -> Traces:
    """Write traces of the reference to a file. force: whether a file that is there is overwritten.

    Raises BenchError for a model without a chat template, for conversations that cannot be read, and where no conversation comes about; one that
    the template refuses is told and left out.
    """
    if not 0 <= asked.temperature < 100:
        raise BenchError(
            f"--temperature {asked.temperature:g}: must be from 0 (always the likeliest token) to 100; 1 is the model's own distribution"
        )
    source = CHAT if asked.conversations is None else str(asked.conversations)
    found = problem_set(source)
    conversations = [c for c in found.problems if isinstance(c, Conversation)]
    if not conversations:
        raise BenchError(
            f"{source}: holds infill problems, which nobody answers; give conversations, JSON lines with messages"
        )
    _refuse_to_overwrite(out, work, asked, force=force)
    _ = work.threads, work.library
    with work.scratch_files():
        reference = work.reference
    check_window(reference.info, work.options.window)
    template = reference.chat_template
    if template is None:
        raise BenchError(
            f"{reference.info.name}: has no chat template, so nobody knows how it is asked; give an instruct model with --model"
        )
    library = work.library
    header = Header(
        model=Writer(
            name=reference.info.name,
            sha256=reference.sha256,
            tokens_sha256=tokens_sha256(reference.path),
            template_sha256=hashlib.sha256(template.encode()).hexdigest(),
        ),
        seed=asked.seed,
        temperature=asked.temperature,
        turns=asked.turns,
        tokens=asked.tokens,
        window=work.options.window,
        source="fixed conversations" if source == CHAT else found.name,
        source_sha256=found.sha256,
        engine={"llama-cpp-python": library.binding, "llama.cpp": library.llama_cpp, "isa": library.isa},
    )
    talks = _talks(work, header, template, conversations)
    with complete_or_absent(out) as partial:
        partial.write_bytes(traces_text(header, talks))
    return read_traces(out)


def _talks(work: Work, header: Header, template: str, conversations: Sequence[Conversation]) -> list[Talk]:
    talks, refused = list[Talk](), list[str]()
    with work.reporter.steps("Conversations", len(conversations)) as steps:
        for conversation in conversations:
            steps.name(conversation.name)
            job = TalkJob(
                model=work.model,
                template=template,
                name=conversation.name,
                group=conversation.group,
                messages=tuple(Message(role=role, content=content) for role, content in conversation.messages),
                seed=header.seed,
                temperature=header.temperature,
                turns=header.turns,
                tokens=header.tokens,
                window=header.window,
                threads=work.threads,
            )
            asked = job.model_dump(mode="json", exclude={"model", "threads"})
            key = short_hash(_TALKS, header.model.sha256, header.engine, asked)
            kept = work.options.cache / "traces" / f"{key}.json"
            talk = read_checked(kept, Talk, work.reporter.warn)
            if talk is None:
                try:
                    talk = work.executor.do(job, steps.share)
                except MeasurementError:
                    raise
                except BenchError as e:  # a template may refuse one conversation and take another
                    refused.append(f"{conversation.name}: {e}")
                else:
                    write_checked(kept, talk)
            if talk is not None:
                talks.append(talk)
            steps.done()
    if not talks:
        raise BenchError(refused[0])
    if refused:
        work.reporter.warn(f"{len(refused)} of {len(conversations)} conversations are left out, such as {refused[0]}")
    return talks


def _refuse_to_overwrite(out: Path, work: Work, asked: Asked, *, force: bool) -> None:
    for source in (work.options.model and Path(work.options.model), asked.conversations):
        if source and out.exists() and source.exists() and out.samefile(source):
            raise BenchError(f"{out}: is what is read from; give another file to write")
    if out.exists() and not force:
        raise BenchError(f"{out}: is there already; give another name, or overwrite it with --force")
