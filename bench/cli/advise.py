"""`bench advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import CacheOption, JsonOption, WindowOption, print_json

app = typer.Typer()
_MODEL_HELP = "A model: a GGUF file, a part of a split one, hf:owner/repo:file, or a checkpoint."


@app.command(short_help="Which file for this machine.")
def advise(
    model: Annotated[
        str | None, typer.Option("--model", help=f"{_MODEL_HELP} [default: sizes of model in general]")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Directory of a run, for measured quality and speed.")
    ] = None,
    window: WindowOption = 2048,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which quantization for this machine: what its CPU and memory offer, what every format of the guide needs, and why.

    With a run, what was measured joins in: the files that no other beats, the best that fits, the smallest that loses little.
    """
    from bench.advise.advice import advise as advice_on
    from bench.advise.fitting import plan_guide
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter
    from bench.engine.jobs import LibraryJob, MemoryJob
    from bench.engine.memory import shape_of
    from bench.execute.local import LocalExecutor
    from bench.gguf_files.info import inspect
    from bench.measures.registry import load_run
    from bench.models.sources import local_model

    found = load_run(run) if run else None
    kept = cache_directory(cache)
    executor = LocalExecutor(kept)
    library = executor.do(LibraryJob())
    path = local_model(model, kept, Reporter()).path if model else None
    info = inspect(path) if path else None
    plans = plan_guide(executor.hold(path), executor) if path else None
    buffers = None
    if path and shape_of(path).notes:  # where the rule is only approximate llama.cpp itself is asked
        buffers = executor.do(MemoryJob(model=executor.hold(path), window=window))
    advice = advice_on(info, found, library=library, window=window, plans=plans, buffers=buffers)
    if as_json:
        print_json(advice.json())
    else:
        print(advice.text())
