"""`python -m bench advise`, `card`: what a reader or a publisher makes of models and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import CacheOption, JsonOption, WindowOption, print_json
from bench.core.errors import BenchError

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
    from bench.core.progress import Reporter
    from bench.engine.memory import Buffers, shape_of
    from bench.execute.jobs import LibraryInfo, LibraryJob, MemoryJob
    from bench.execute.local import run_job
    from bench.gguf_files.info import inspect
    from bench.models.reference import cache_directory
    from bench.models.sources import local_model
    from bench.records.run import Run

    found = Run.load(run) if run else None
    library = run_job(LibraryJob(), LibraryInfo)
    path = local_model(model, cache_directory(cache), Reporter()).path if model else None
    info = inspect(path) if path else None
    plans = plan_guide(path) if path else None
    buffers = None
    if path and shape_of(path).notes:  # where the rule is only approximate llama.cpp itself is asked
        buffers = run_job(MemoryJob(model=path, window=window), Buffers)
    advice = advice_on(info, found, library=library, window=window, plans=plans, buffers=buffers)
    if as_json:
        print_json(advice.json())
    else:
        print(advice.text())


@app.command(short_help="A model card of a run, and its upload.")
def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help=f"The run's reference, whose header tells license and base model. {_MODEL_HELP}"),
    ] = None,
    base_model: Annotated[str | None, typer.Option("--base-model", help="owner/name of what was quantized.")] = None,
    quantized_by: Annotated[
        str | None, typer.Option("--quantized-by", help="Who made the files [default: the owner of --repo].")
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", help="The license as the hub writes it [default: that of the model].")
    ] = None,
    repo: Annotated[str | None, typer.Option("--repo", help="owner/name that the card is for.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Directory to write to [default: RUN/card].")] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the card, its plots and the quantized files to --repo.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="With --upload: make the repository private.")] = False,
    cache: CacheOption = None,
) -> None:
    """Write a model card for a run's files: metadata, tables, plots, method, and how to run each file.

    Nothing is sent anywhere without --upload.
    """
    from bench.core.progress import Reporter
    from bench.gguf_files.info import inspect
    from bench.models.reference import cache_directory
    from bench.models.sources import local_model
    from bench.present import card as cards
    from bench.present.card_upload import files_of, listing, send, to_send
    from bench.records.run import Run

    if upload and not repo:
        raise BenchError("--upload: which repository? name it with --repo OWNER/NAME")
    kept, found = cache_directory(cache), Run.load(run)
    files = files_of(found, kept) if upload else {}
    local = local_model(model, kept, Reporter()) if model else None
    info = inspect(local.path) if local else None
    origin = (local.origin if local else None) or ""
    # a checkpoint's repository is what was quantized; one with GGUF files names that in their headers
    from_hub = (
        origin.removeprefix("hf:").partition("@")[0] if origin and ":" not in origin.removeprefix("hf:") else None
    )
    target = out or run / "card"
    written = cards.write_card(
        found,
        run,
        target,
        model=info,
        base_model=base_model or from_hub,
        quantized_by=quantized_by,
        license=license,
        repo=repo,
        infill=any(s.problem_kind == "fim" for s in found.problem_sets),
    )
    print(f"Card: {written}")
    if upload and repo:
        for line in listing(to_send(target, files)):
            print(f"  {line}")
        print(f"Sent: {send(target, files, repo, private=private, reporter=Reporter())}")
