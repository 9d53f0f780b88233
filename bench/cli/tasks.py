"""`bench tasks`: questions with right answers, put to any files outside a run."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Right answers of any GGUF files in tasks.")
@with_options(
    "measure:tasks", "threads", "isa", "cache",
    tasks="Tasks, separated by commas: own (the project's), any task of lm-evaluation-harness (hellaswag, arc_challenge, mmlu, ...), or a text "
    "file of llama-perplexity's --hellaswag, --winogrande or --multiple-choice as hellaswag:FILE [default: own].",
)  # fmt: skip
def tasks(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="GGUF files, each a path, a part of a split one, or hf:owner/repo:file.gguf."
        ),
    ],
    options: Options,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODEL", help="File to compare the others with [default: the first]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put questions to GGUF files and count right answers.

    Several files are compared with the first, or with --against, question by question: what each lost and won, by McNemar's exact
    test, and how the margin between right and best wrong choice changed. Files may be of different models. Answers are kept in the cache:
    the same command goes on where it was interrupted.
    """
    from bench.execute.local import warm_up

    warm_up("bench.measures.tasks.answer")  # its imports and ours, side by side
    from dataclasses import replace

    from bench.cli.table import print_table
    from bench.core.progress import Reporter
    from bench.measures.tasks.several import put_to_files
    from bench.measures.tasks.sources import tasks_asked

    asked = options.measures["tasks"]
    asked = asked if asked.tasks else replace(asked, tasks=("own",))
    named = list(dict.fromkeys(models if against is None else (against, *models)))
    found, whole = put_to_files(options, Reporter(), named, tasks_asked(asked))
    if as_json:
        print_json([answered.json() for answered in found])
    for n, answered in enumerate([] if as_json else found):
        print(("\n" if n else "") + f"{answered.task.name}: {answered.task.items} questions, {answered.task.source}\n")
        if len(table := answered.table()):
            print_table(table)
            print()
        print(answered.key())
    if not whole:
        raise typer.Exit(1)
