"""Where tasks come from: lm-evaluation-harness, with the project's own tasks among its, and text files of llama-perplexity."""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise

from bench.core.errors import BenchError
from bench.measures.tasks.harness import Choice, Harness
from bench.measures.tasks.jobs import Alternative, Chat, Continuation, Request, Whole, Writing
from bench.measures.tasks.options import Asked
from bench.measures.tasks.perplexity_files import FORMS, file_task
from bench.measures.tasks.questions import Task

#: Characters of a token, about.
_CHARACTERS = 4
#: How much slower a token is written than read, about, beside others that are written; not all write up to their limit.
_SLOWER = 2.5


@cache
def tasks_asked(asked: Asked) -> tuple[Task, ...]:
    """The tasks that are asked for, in order. Raises BenchError for what cannot be loaded."""
    if not asked.tasks:
        if asked.task_path or asked.limit or asked.shots is not None or asked.task_template:
            raise BenchError(
                "--task-path, --limit, --shots and --task-template say how --tasks are put; give --tasks too"
            )
        return ()
    found: list[Task] = []
    harness: Harness | None = None
    for name in dict.fromkeys(asked.tasks):
        form, colon, path = name.partition(":")
        if colon and form in FORMS:
            found.append(file_task(form, path, asked.limit))
            continue
        harness = harness or Harness(asked.task_path)
        found += harness.load(name, Choice(asked.limit, asked.shots, asked.task_template))
    names = [t.name for t in found]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise BenchError(f"--tasks: {twice} is asked for twice; name it, or a group that holds it, once")
    return tuple(found)


def foreseen_tokens(task: Task) -> float:
    """What a task takes for each file, in tokens that are read: what texts begin with alike counts once."""
    texts = sorted(_read(request) for request in task.requests)
    shared = sum(len(os.path.commonprefix(pair)) for pair in pairwise(texts))  # noqa: RUF071  by characters it is
    written = sum(r.limit for r in task.requests if isinstance(r, Writing))
    return (sum(map(len, texts)) - shared) / _CHARACTERS + _SLOWER * written


def _read(request: Request) -> str:
    """About what a model reads of a request, in the order in which it does."""
    if isinstance(request, Whole):
        return request.text
    if isinstance(request, Alternative):
        return request.texts[request.index]
    context = request.context
    if request.chat:
        chat = Chat.model_validate_json(context)
        context = f"{chat.tools}{chat.messages}"
    return context + (request.text if isinstance(request, Continuation) else "")
