"""`bench traces`: conversations that the reference writes itself, as a file to be scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import ForceOption, JsonOption, print_json, with_options
from bench.core.options import TEXT
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Conversations that the reference writes itself, to score files on.")
@with_options(
    "model", "window", "threads", "allow_quantized", "widen", "cache",
    window="Tokens of a conversation at most: it is scored in a window of as many.",
)  # fmt: skip
def traces(
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The file to write, a conversation a line.")],
    options: Options,
    conversations: Annotated[
        Path | None,
        typer.Option(
            "--conversations",
            help="JSON lines with messages, whose answers the model gives anew [default: the fixed conversations].",
            rich_help_panel=TEXT,
        ),
    ] = None,
    turns: Annotated[
        int,
        typer.Option(
            "--turns",
            min=0,
            help="Answers of a conversation at most; 0 for all that it asks for.",
            rich_help_panel=TEXT,
        ),
    ] = 0,
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, help="Tokens of an answer at most.", rich_help_panel=TEXT)
    ] = 512,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            min=0,
            help="What the model is sampled with: 1 is its own distribution, 0 always the likeliest token.",
            rich_help_panel=TEXT,
        ),
    ] = 1.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Another seed gives other conversations.", rich_help_panel=TEXT)
    ] = 1,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Have the reference answer conversations in its own chat template, and keep what it wrote, token by token, to score files on it.

    Web text is far from what a chat model says. `run --traces OUT.jsonl` scores files on what the reference wrote, and on nothing else. The same
    seed and engine write the same file. An interrupted command goes on where it stopped.
    """
    from bench.core.progress import Reporter
    from bench.traces.make import Asked, make_traces
    from bench.traces.told import as_json as told_json
    from bench.traces.told import in_words
    from bench.workbench.work import Work

    asked = Asked(seed=seed, turns=turns, tokens=tokens, temperature=temperature, conversations=conversations)
    made = make_traces(Work(options, Reporter()), out, asked, force=force)
    if as_json:
        print_json(told_json(made))
    else:
        print(in_words(made))
