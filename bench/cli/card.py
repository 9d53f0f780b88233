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
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="OWNER/NAME", help="Repository of the hub that the card is for.")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model", metavar="OWNER/NAME", help="The model of the hub that was quantized [default: as recorded]."
        ),
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", help="The licence as the hub writes it [default: as recorded].")
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="CODES", help="Languages, such as en,de [default: as recorded].")
    ] = None,
    quantized_by: Annotated[
        str | None, typer.Option("--quantized-by", help="Who made the files [default: the owner of --repo].")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="The run's reference. Its header has the details that an older run did not record: licence, languages, base model, "
            f"chat template. {_MODEL_HELP}",
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option("--imatrix", metavar="FILE", help="The run's importance matrix [default: the one in the cache]."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Directory to write to [default: RUN/card].")
    ] = None,
    upload: Annotated[
        bool,
        typer.Option("--upload", help="Send the card, the files beside it and the quantized files to --repo."),
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="With --upload: make the repository private.")] = False,
    cache: CacheOption = None,
) -> None:
    """Write a model card for a run's files, with the report, the recipes and the importance matrix beside it.

    The card has one table of all files, what to take for how much memory, the prompt format, and how to run a file.
    Nothing is sent anywhere without --upload.
    """
    from bench.core.files import cache_directory
    from bench.core.progress import Reporter
    from bench.measures.registry import load_run
    from bench.models.reference import named_reference
    from bench.present.card import Given, write_card
    from bench.present.card_metadata import given_languages
    from bench.present.card_upload import files_of, given_matrix, listing, matrix_of, send, to_send
    from bench.present.hub_names import file_names
    from bench.records.run import FILE_NAME

    if upload and not repo:
        raise BenchError("--upload: which repository? name it with --repo OWNER/NAME")
    if run.name == FILE_NAME:
        run = run.parent
    kept, found, reporter = cache_directory(cache), load_run(run), Reporter()
    files = files_of(found, kept) if upload else {}
    given = Given(
        model=named_reference(model, kept, reporter).info if model else None,
        base_model=base_model,
        license=license,
        languages=given_languages(language) if language else (),
        quantized_by=quantized_by,
        repo=repo,
        matrix=given_matrix(found, imatrix) if imatrix else matrix_of(found, kept),
    )
    target = out or run / "card"
    written = write_card(found, run, target, given)
    if upload and written.base_model is None:
        raise BenchError(
            "--upload: the hub shows what a model was made from, and nothing tells it; give --base-model OWNER/NAME"
        )
    print(f"Card: {written.path} ({written.path.stat().st_size:,} bytes)")
    print(f"Beside it: {', '.join(written.parts)}")
    if not upload:
        print(f"The model files are not in it: --upload sends them with the card, {len(file_names(found))} in all")
    for lacking in written.lacks:
        reporter.warn(f"the card lacks {lacking}")
    if upload and repo:
        for line in listing(to_send(target, written.beside, files)):
            print(f"  {line}")
        hashes = {name: found.files[recipe].sha256 for recipe, name in file_names(found).items()}
        sent = send(target, written.beside, files, repo, private=private, reporter=reporter, hashes=hashes)
        print(f"Sent: {sent}")
