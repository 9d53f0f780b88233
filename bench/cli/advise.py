"""`bench advise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli.options import CacheOption, JsonOption, print_json

if TYPE_CHECKING:
    from bench.advise.advice import Advice

app = typer.Typer()
_WHAT_HELP = "What to choose from: hf:OWNER/REPO-GGUF (nothing is downloaded), the directory of a run, or a model in 16 bits. [default: sizes of model]"
_MODEL_HELP = (
    "The model in 16 bits: a GGUF file, hf:owner/repo:file, or a checkpoint. With a run: for memory at --context."
)


@app.command(short_help="Which file to take for this machine.")
def advise(
    what: Annotated[str | None, typer.Argument(metavar="WHAT", help=_WHAT_HELP, show_default=False)] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="MODEL", help=_MODEL_HELP)] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIRECTORY", help="A run: its measured quality and speed count.")
    ] = None,
    prefer: Annotated[
        Literal["balance", "quality", "speed"],
        typer.Option("--prefer", help="The priority: balance is the best quality that generates as fast as one reads."),
    ] = "balance",
    max_size: Annotated[
        str | None,
        typer.Option("--max-size", metavar="SIZE", help="The largest file to take, for instance 80MB or 5GB."),
    ] = None,
    context: Annotated[
        int, typer.Option("--context", min=4, metavar="TOKENS", help="Tokens of prompt and answer together.")
    ] = 4096,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help="Memory of another machine, for instance 16GB. [default: this one's]"
        ),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(
            "--bandwidth", metavar="SPEED", help="Its memory bandwidth, for instance 50GB/s. [default: measured here]"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", "-t", min=1, metavar="N", help="Its threads. [default: a thread for each core here]"),
    ] = None,
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            "--gpu-memory",
            metavar="SIZE",
            help="Memory of a GPU, for instance 8GB: how much of each file it holds. [default: what the engine finds]",
        ),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which file to take: one recommendation with its reason, a smaller or faster one, and a better one; then all of them.

    The advice is for this machine, or for the one that --memory, --bandwidth and --threads describe. A run gives measured quality;
    without one the order is that of the guide to formats.
    """
    from bench.advise.asked import Asked, advice_for, told_by
    from bench.advise.situation import Wishes, bytes_of
    from bench.core.files import cache_directory

    repository, model, run = told_by(what, model, run)
    wishes = Wishes(context, bytes_of(max_size, "--max-size") if max_size else None, prefer)
    asked = Asked(repository, model, run, wishes, memory, bandwidth, threads, gpu_memory)
    advice = advice_for(asked, cache_directory(cache))
    if as_json:
        print_json(advice.json())
    else:
        _print(advice)


def _print(advice: Advice) -> None:
    """The recommendation, then tables, then how it was worked out: wrapped on a terminal, Markdown elsewhere."""
    from bench.cli.program import program
    from bench.cli.shown import print_table
    from bench.core.formats import printable

    _print_lines(advice.lead(program()))
    for table in advice.tables:
        print(f"\n## {printable(table.title)}\n")
        if table.frame is not None:
            print_table(table.frame)
            print()
        _print_lines([f"- {line}" for line in table.key])
    print("\n## How this was worked out\n")
    _print_lines([f"- {line}" for line in advice.notes])


def _print_lines(lines: list[str]) -> None:
    from bench.cli.table import folded, room
    from bench.core.formats import printable

    for line in lines:
        print(folded(printable(line), room()) + ("\n" if line.startswith("#") else ""))
