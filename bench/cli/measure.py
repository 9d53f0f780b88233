"""`python -m bench ppl`, `time`, `info`: any one GGUF file, apart from a run."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import (
    CacheOption,
    DatasetOption,
    IsaOption,
    JsonOption,
    ModelArgument,
    TextOption,
    ThreadsOption,
    WindowOption,
    print_json,
)

app = typer.Typer()


@app.command(short_help="Perplexity of any GGUF file.")
def ppl(
    model: ModelArgument,
    text: TextOption = None,
    dataset: DatasetOption = None,
    window: WindowOption = 2048,
    windows: Annotated[
        int | None, typer.Option("--windows", help="Number of windows to score [default: all of the text].")
    ] = None,
    threads: ThreadsOption = None,
    isa: IsaOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Perplexity of any GGUF file, by llama-perplexity's convention: its second halves of windows, without overlap."""
    from bench.execute.local import start_server

    start_server()  # its imports and ours, side by side
    from bench.core.progress import Reporter
    from bench.models.reference import cache_directory
    from bench.sweep import commands

    scored = commands.score(
        model,
        text=text,
        dataset=dataset,
        window=window,
        windows=windows,
        threads=threads,
        generate=0,
        timed=False,
        isa=isa,
        cache=cache_directory(cache),
        reporter=Reporter(),
    )
    if as_json:
        print_json(scored.perplexity_json())
    else:
        print(scored.perplexity_text())


@app.command("time", short_help="CPU speed and memory of any GGUF file.")
def time_command(
    model: ModelArgument,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed rounds, each from an empty context.")] = 5,
    window: WindowOption = 2048,
    generate: Annotated[int, typer.Option("--generate", min=1, help="Tokens to generate in each round.")] = 32,
    threads: ThreadsOption = None,
    isa: IsaOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """CPU speed of any GGUF file: seconds for a window, prompt and generation tokens/s, memory and load time."""
    from bench.core.progress import Reporter
    from bench.models.reference import cache_directory
    from bench.sweep import commands

    scored = commands.score(
        model,
        text=None,
        window=window,
        windows=None,
        threads=threads,
        generate=generate,
        isa=isa,
        cache=cache_directory(cache),
        reporter=Reporter(),
        rounds=rounds,
    )
    if as_json:
        print_json(scored.speed_json())
    else:
        print(scored.speed_text())


@app.command(short_help="What a GGUF file is.")
def info(model: ModelArgument, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """What a GGUF file is: architecture, layers, context, stored types, bits per weight."""
    from bench.core.progress import Reporter
    from bench.models.reference import cache_directory
    from bench.sweep import commands

    found = commands.describe_file(model, cache_directory(cache), Reporter())
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            shown = (
                ", ".join(f"{k} {v:,}" for k, v in value.items())
                if isinstance(value, dict)
                else f"{value:,}"
                if isinstance(value, int)
                else value
            )
            print(f"{key.replace('_', ' '):<18} {shown}")
