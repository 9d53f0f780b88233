"""Options of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.core.options import TEXT, option


@dataclass(frozen=True)
class Asked:
    """tasks: their names; task_path: a directory with more of them; limit: questions of each task; shots: examples before each question, None for the task's own
    number; task_template: whether questions are put as conversations."""

    tasks: tuple[str, ...] = option(
        (),
        "--tasks",
        "Also put these tasks to every file, separated by commas: own (the project's), any task of lm-evaluation-harness (hellaswag, "
        "arc_challenge, mmlu, ...), or a text file of llama-perplexity's --hellaswag, --winogrande or --multiple-choice as hellaswag:FILE.",
        listed=("task", "own,hellaswag"),
        panel=TEXT,
        metavar="NAMES",
    )
    task_path: Path | None = option(
        None,
        "--task-path",
        "Directory with further tasks in the form of lm-evaluation-harness: YAML, with JSON lines beside it.",
        panel=TEXT,
        metavar="DIR",
    )
    limit: int | None = option(
        None,
        "--limit",
        "Questions of each task, from its beginning [default: all].",
        panel=TEXT,
        metavar="N",
        min=1,
    )
    shots: int | None = option(
        None,
        "--shots",
        "Examples before each question, where a task has some to give [default: the task's own number].",
        panel=TEXT,
        metavar="N",
        min=0,
    )
    task_template: bool = option(
        False,
        "--task-template",
        "Put questions as conversations, rendered with the model's chat template.",
        panel=TEXT,
    )
