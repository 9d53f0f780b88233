"""`bench check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, names, print_json

app = typer.Typer()
_RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")]


@app.command(short_help="Whether a run is worse than a baseline.")
def check(
    run: _RunArgument,
    against: Annotated[
        Path, typer.Option("--against", metavar="BASELINE", help="Directory of the run that is the baseline.")
    ],
    recipes: Annotated[
        str | None,
        typer.Option(
            "--recipes",
            "-r",
            help="Check these only, separated by commas; one that the run lacks counts as worse [default: those of the baseline that the run was asked for].",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", help="TOML file with limits of your own [default: those of the program]."),
    ] = None,
    rounds: Annotated[
        Path | None,
        typer.Option(
            "--rounds",
            help="Take the run's times from this file of `export --benchmark-json` [default: RUN/benchmark.json, else its records].",
        ),
    ] = None,
    baseline_rounds: Annotated[Path | None, typer.Option("--baseline-rounds", help="The baseline's rounds.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Whether quality, size or speed of a run are worse than a baseline's, beyond their uncertainty and a limit.

    The engine may be another one, and so may the machine, which leaves the speed out. Exit code 0: nothing is worse; 1: something is, or
    a recipe that the run was asked for is missing; 2: the runs are not comparable.
    """
    from bench.cli.shown import print_table
    from bench.measures.registry import load_run
    from bench.measures.windows.rounds import BENCHMARK_FILE, read_rounds
    from bench.present.check import check as checked
    from bench.present.thresholds import read_thresholds

    asked = None if recipes is None else names(recipes)
    limits = read_thresholds(thresholds)
    found, baseline = load_run(run), load_run(against)
    timed = []
    for directory, records, given in ((run, found, rounds), (against, baseline, baseline_rounds)):
        stored = given or (directory if directory.is_dir() else directory.parent) / BENCHMARK_FILE
        timed.append(read_rounds(stored, records) if given or stored.is_file() else None)
    report = checked(found, baseline, limits, recipes=asked, timed=timed[0], baseline_timed=timed[1])
    if as_json:
        worse = len(report.worse)
        print_json({"worse": worse, "figures": [r.json() for r in report.rows], "told": report.told})
    else:
        print_table(report.table())
        told = "".join(f"- {t}\n" for t in report.told)
        print(f"\n{told}\n{report.conclusion()}")
    if report.worse:
        raise typer.Exit(1)
