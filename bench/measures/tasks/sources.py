"""Where tasks come from: lm-evaluation-harness, with the project's own tasks among its, and text files of llama-perplexity."""

from __future__ import annotations

import os
from functools import cache

from bench.core.errors import BenchError
from bench.measures.tasks.harness import Choice, Harness
from bench.measures.tasks.jobs import Alternative, Continuation, Whole, Writing
from bench.measures.tasks.options import Asked
from bench.measures.tasks.perplexity_files import FORMS, file_task
from bench.measures.tasks.questions import Task

#: Characters of a token, about.
_CHARACTERS = 4
#: How much slower a token is written than read, about, beside others that are written.
_SLOWER = 4


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
    """What a task takes for each file, in tokens that are read: contexts that are the same count once."""
    contexts: set[str] = set()
    characters = written = 0
    for request in task.requests:
        if isinstance(request, Whole):
            characters += len(request.text)
            continue
        if isinstance(request, Alternative):
            context, text = os.path.commonprefix(request.texts), request.texts[request.index]  # noqa: RUF071  by characters it is
            text = text[len(context) :]
        else:
            context, text = request.context, request.text if isinstance(request, Continuation) else ""
        characters += len(text)
        if context not in contexts:
            contexts.add(context)
            characters += len(context)
        if isinstance(request, Writing):
            written += request.limit
    return characters / _CHARACTERS + _SLOWER * written
