"""`bench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.core.errors import BenchError

app = typer.Typer()
_RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")]


@app.command(short_help="Tables of a run for other programs.")
def export(
    run: _RunArgument,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="comparison, files, paired, reference, distances, bits, positions, equal-size, kinds, kl-kinds, windows, types, tokens, caches, cache_positions, recall, tasks, task_scores, task_pairs, prediction, problems, samples, propagation or others.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="parquet or csv (raw numbers), md or latex (text with intervals) [default: as --out ends, else md].",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write to [default: standard output].")
    ] = None,
    benchmark_json: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-json",
            help="Write the run's rounds to this file as pytest-benchmark stores them, for its `compare`.",
        ),
    ] = None,
) -> None:
    """A table of a run as Parquet, CSV, Markdown or LaTeX (booktabs), or its rounds for pytest-benchmark."""
    from bench.measures.registry import load_run
    from bench.measures.windows.rounds import write_benchmark_json
    from bench.present.export import export_table, format_of

    if table is None and benchmark_json is None:
        raise BenchError("export: of what? name a table with --table, or a file with --benchmark-json")
    if table is None and (form or out):
        raise BenchError("--format and --out: are of a table; name it with --table")
    found = load_run(run)
    if benchmark_json is not None:
        write_benchmark_json(found, benchmark_json)
    if table is not None:
        print(export_table(found, table, format_of(form, out), out), end="")
