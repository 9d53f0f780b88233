"""`bench tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import FormatOption, IntervalsOption, JsonOption, print_json

app = typer.Typer()


@app.command(short_help="Tables and plots of a run again, from its records.")
def tables(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    form: FormatOption = None,
    intervals: IntervalsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the tables and plots of a run again from its records, and print them: the main ones on a terminal, all of them as Markdown."""
    from bench.cli.program import program
    from bench.cli.shown import print_summary, run_as_json
    from bench.cli.table import Look
    from bench.measures.registry import load_run
    from bench.present.output import write_outputs
    from bench.records.run import FILE_NAME

    if directory.name == FILE_NAME:
        directory = directory.parent
    found = load_run(directory)
    written = write_outputs(found, directory)
    if as_json:
        print_json(run_as_json(found, directory))
    elif (look := Look(form, intervals)).is_table:
        print_summary(found, directory, program(), look)
    else:
        print(written[0].read_text(encoding="utf-8"))
        print(f"Records: {directory / FILE_NAME}")
        print(f"Tables and plots: {', '.join(map(str, written))}")
