"""`bench time`: speed and memory of any one file, apart from a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench.cli.options import JsonOption, ModelArgument, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command("time", short_help="CPU speed and memory of any GGUF file.")
@with_options("window", "threads", "isa", "cache")
def time_command(
    model: ModelArgument,
    options: Options,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed rounds, each from an empty context.")] = 5,
    generate: Annotated[int, typer.Option("--generate", min=1, help="Tokens to generate in each round.")] = 32,
    as_json: JsonOption = False,
) -> None:
    """CPU speed of any GGUF file: seconds for a window, prompt and generation tokens/s, memory and load time."""
    from bench.core.progress import Reporter
    from bench.measures.windows.single import score
    from bench.workbench.work import Work

    scored = score(Work(replace(options, generate=generate), Reporter()), model, rounds=rounds)
    if as_json:
        print_json(scored.speed_json())
    else:
        print(scored.speed_text())
