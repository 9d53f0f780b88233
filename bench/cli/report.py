"""`bench report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json

app = typer.Typer()


@app.command(short_help="A run as one HTML page.")
def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the page there instead of RUN/report.html, without links to the run's files.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write RUN/report.html from its records: one file that opens from disk and needs no network."""
    from bench.measures.registry import load_run
    from bench.present.pages.report import write_report
    from bench.records.run import FILE_NAME

    if directory.name == FILE_NAME:
        directory = directory.parent
    path = write_report(load_run(directory), directory, out=out)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(f"Report: {path}")
