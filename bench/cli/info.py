"""`bench info`: what a file is."""

from __future__ import annotations

import typer

from bench.cli.options import CacheOption, JsonOption, ModelArgument, print_json
from bench.core.files import cache_directory

app = typer.Typer()


@app.command(short_help="What a GGUF file is.")
def info(model: ModelArgument, cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """What a GGUF file is: architecture, stored types, bits per weight, hash, chat template, memory, who quantized it."""
    from bench.advise.describe import describe_file
    from bench.core.progress import Reporter

    found = describe_file(model, cache_directory(cache), Reporter())
    if as_json:
        print_json(found)
    else:
        width = max(map(len, found))
        for key, value in found.items():
            shown = (
                ", ".join(f"{k} {v:,}" for k, v in value.items())
                if isinstance(value, dict)
                else f"{value:,}"
                if isinstance(value, int)
                else value
            )
            print(f"{key.replace('_', ' '):<{width}}  {shown}")
