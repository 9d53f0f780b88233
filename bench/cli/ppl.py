"""`bench ppl`: perplexity of any one file, apart from a run."""

from __future__ import annotations

from dataclasses import replace

import typer

from bench.cli.options import JsonOption, ModelArgument, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Perplexity of any GGUF file.")
@with_options(
    "text", "dataset", "window", "windows", "threads", "isa", "cache",
    windows="Number of windows to score [default: all of the text].",
)  # fmt: skip
def ppl(model: ModelArgument, options: Options, as_json: JsonOption = False) -> None:
    """Perplexity of any GGUF file, by llama-perplexity's convention: its second halves of windows, without overlap."""
    from bench.execute.local import warm_up

    warm_up("bench.measures.windows.score")  # its imports and ours, side by side
    from bench.core.progress import Reporter
    from bench.measures.windows.single import score
    from bench.workbench.work import Work

    scored = score(Work(replace(options, generate=0), Reporter()), model, timed=False)
    if as_json:
        print_json(scored.perplexity_json())
    else:
        print(scored.perplexity_text())
