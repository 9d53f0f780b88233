"""`bench info`: the description of a file."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import CacheOption, JsonOption, ModelArgument, print_json
from bench.core.files import cache_directory

app = typer.Typer()


@app.command(short_help="Describe a GGUF file.")
def info(
    model: ModelArgument,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            "-c",
            min=1,
            help="Tokens of context to compute the memory for [default: 4096, or the model's own if that is less].",
        ),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a GGUF file: architecture, stored types, bits per weight, hash, chat template, memory, who quantized it."""
    from bench.advise.describe import describe_file
    from bench.cli.table import beside, room
    from bench.core.progress import Reporter

    found = describe_file(model, cache_directory(cache), Reporter(), context)
    if as_json:
        print_json(found)
    else:
        width, columns = max(map(len, found)) + 2, room()
        for key, value in found.items():
            print(beside(key.replace("_", " "), _text(value), width, columns))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v:,}" for k, v in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
