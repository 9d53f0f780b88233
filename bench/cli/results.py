"""`python -m bench history`, `check`, `export`: what runs say over time, against a baseline, and to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, names, print_json
from bench.core.errors import BenchError

app = typer.Typer()

_RUNS = Path("results")
_RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")]


@app.command(short_help="A run as one HTML page.")
def report(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Write RUN/report.html from its records: one file that opens from disk and asks nothing of the network."""
    from bench.present.pages.report import write_report
    from bench.records.run import FILE_NAME, Run

    if directory.name == FILE_NAME:
        directory = directory.parent
    path = write_report(Run.load(directory), directory)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(f"Report: {path}")


@app.command(short_help="A figure over runs, as table and plot.")
def history(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUNS", help="Directories of runs [default: all below results].", show_default=False),
    ] = None,
    figure: Annotated[
        str,
        typer.Option(
            "--figure", help="ppl, kl, same_top, bytes, window_seconds and so on: columns of tables/full.csv."
        ),
    ] = "ppl",
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Recipes to show, separated by commas [default: all].")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where the plot goes, without suffix [default: results/local/history/FIGURE]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A figure over runs, by date, engine and commit: a table, and a plot of runs that compare.

    Runs that differ in more than the engine stand in tables of their own, with what differs.
    """
    from bench.core.progress import Reporter
    from bench.present import history as over_runs
    from bench.records.run import Run

    if runs:
        loaded = [(str(d), Run.load(d)) for d in dict.fromkeys(runs)]
    else:
        loaded = []
        for directory in over_runs.find_runs(_RUNS):
            try:
                loaded.append((str(directory), Run.load(directory)))
            except BenchError as e:  # found, not named: the others are shown
                Reporter().warn(f"left out: {e}")
    found = over_runs.history(loaded, figure, names(recipe) if recipe else ())
    if as_json:
        print_json(found.json())
        return
    print(found.text())
    plots = over_runs.plot(found, out or _RUNS / "local" / "history" / figure)
    print(f"\nPlot: {', '.join(map(str, plots)) if plots else 'none, it takes two runs that compare'}")


@app.command(short_help="Whether a run is worse than a baseline.")
def check(
    run: _RunArgument,
    against: Annotated[
        Path, typer.Option("--against", metavar="BASELINE", help="Directory of the run that is the baseline.")
    ],
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", help="TOML file with limits of your own [default: bench/thresholds.toml]."),
    ] = None,
    rounds: Annotated[
        Path | None,
        typer.Option(
            "--rounds",
            help="Take the run's times from this file of `export --benchmark-json` [default: RUN/benchmark.json, else its records].",
        ),
    ] = None,
    baseline_rounds: Annotated[Path | None, typer.Option("--baseline-rounds", help="The same of the baseline.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Whether quality, size or speed of a run are worse than a baseline's, beyond their uncertainty and a limit.

    The engine may be another one, and so may the machine, which leaves the speed out. Exit code 0: nothing is worse; 1: something is, or
    a recipe is missing; 2: the runs do not compare.
    """
    from bench.measures.windows.tables import markdown
    from bench.present.check import check as checked
    from bench.present.check import read_thresholds
    from bench.present.export import BENCHMARK_FILE, read_rounds
    from bench.records.run import Run

    limits = read_thresholds(thresholds)
    found, baseline = Run.load(run), Run.load(against)
    timed = []
    for directory, records, given in ((run, found, rounds), (against, baseline, baseline_rounds)):
        stored = given or (directory if directory.is_dir() else directory.parent) / BENCHMARK_FILE
        timed.append(read_rounds(stored, records) if given or stored.is_file() else None)
    report = checked(found, baseline, limits, timed=timed[0], baseline_timed=timed[1])
    if as_json:
        worse = len(report.worse)
        print_json({"worse": worse, "figures": [r.json() for r in report.rows], "told": report.told})
    else:
        told = "".join(f"- {t}\n" for t in report.told)
        print(f"{markdown(report.table())}\n\n{told}\n{report.conclusion()}")
    if report.worse:
        raise typer.Exit(1)


@app.command(short_help="Tables of a run for other programs.")
def export(
    run: _RunArgument,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="comparison, files, paired, reference, equal-size, kinds, kl-kinds, windows, types, tokens, problems, samples, propagation or others.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="parquet or csv (raw numbers), md or latex (text with intervals) [default: as --out ends, else md].",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write to [default: standard output].")] = None,
    benchmark_json: Annotated[
        Path | None,
        typer.Option(
            "--benchmark-json",
            help="Write the run's rounds to this file as pytest-benchmark stores them, for its `compare`.",
        ),
    ] = None,
) -> None:
    """A table of a run as Parquet, CSV, Markdown or LaTeX (booktabs), or its rounds for pytest-benchmark."""
    from bench.present.export import export_table, format_of, write_benchmark_json
    from bench.records.run import Run

    if table is None and benchmark_json is None:
        raise BenchError("export: of what? name a table with --table, or a file with --benchmark-json")
    if table is None and (form or out):
        raise BenchError("--format and --out: are of a table; name it with --table")
    found = Run.load(run)
    if benchmark_json is not None:
        write_benchmark_json(found, benchmark_json)
    if table is not None:
        print(export_table(found, table, format_of(form, out), out), end="")
