"""`bench card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import CacheOption
from bench.core.errors import BenchError

app = typer.Typer()
_MODEL_HELP = "A model: a GGUF file, a part of a split one, hf:owner/repo:file, or a checkpoint."


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
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter
    from bench.gguf_files.info import inspect
    from bench.measures.registry import load_run
    from bench.models.sources import local_model
    from bench.present import card as cards
    from bench.present.card_upload import files_of, listing, send, to_send

    if upload and not repo:
        raise BenchError("--upload: which repository? name it with --repo OWNER/NAME")
    kept, found = cache_directory(cache), load_run(run)
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
    )
    print(f"Card: {written}")
    if upload and repo:
        for line in listing(to_send(target, files)):
            print(f"  {line}")
        print(f"Sent: {send(target, files, repo, private=private, reporter=Reporter())}")
