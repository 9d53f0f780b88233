"""`bench ppl`: perplexity of any files, outside a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Perplexity of any GGUF files.")
@with_options(
    "text", "dataset", "languages", "traces", "window", "score", "windows", "threads", "score_on", "gpu_layers", "isa", "cache",
    windows="Number of windows to score [default: all of the text].",
)  # fmt: skip
def ppl(
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
    """Perplexity of GGUF files, by llama-perplexity's convention: second halves of windows, without overlap (but see --score).

    Several files are scored on the same windows and compared with the first, or with --against: change of perplexity, KL divergence
    and same top token, paired by window, each with an interval.
    """
    from bench.execute.local import warm_up

    warm_up("bench.measures.windows.score")  # its imports and ours, side by side
    from bench.cli.table import print_table
    from bench.core.progress import Reporter
    from bench.measures.windows.several import compared_json, compared_key, compared_table, score_together
    from bench.measures.windows.single import score
    from bench.models.sources import local_model
    from bench.workbench.work import Work

    named = list(dict.fromkeys(models if against is None else (against, *models)))
    options = replace(options, generate=0)
    if options.score_on.strip().lower() != "cpu":  # the largest file's layers must fit
        largest = max((local_model(n, options.cache, Reporter()).path for n in named), key=lambda p: p.stat().st_size)
        options = replace(options, model=str(largest), allow_quantized=True)
    work = Work(options, Reporter())
    if len(named) == 1:
        one = score(work, named[0], timed=False)
        if as_json:
            print_json(one.perplexity_json())
        else:
            print(one.perplexity_text())
        return
    scored = score_together(work, named)
    if as_json:
        print_json(compared_json(scored))
    else:
        print_table(compared_table(scored))
        print(f"\n{compared_key(scored)}")
