"""`bench history`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, names, print_json
from bench.core.errors import BenchError

app = typer.Typer()
_RUNS = Path("results")


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
        typer.Option(
            "--out", metavar="PATH", help="Where the plot goes, without suffix [default: results/local/history/FIGURE]."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A figure over runs, by date, engine and commit: a table, and a plot of comparable runs.

    Runs that differ in more than the engine have separate tables, with the differences.
    """
    from bench.core.progress import Reporter
    from bench.measures.registry import load_run
    from bench.present import history as over_runs

    if runs:
        loaded = [(str(d), load_run(d)) for d in dict.fromkeys(runs)]
    else:
        loaded = []
        for directory in over_runs.find_runs(_RUNS):
            try:
                loaded.append((str(directory), load_run(directory)))
            except BenchError as e:  # found, not named: the others are shown
                Reporter().warn(f"left out: {e}")
    found = over_runs.history(loaded, figure, names(recipe) if recipe else ())
    if as_json:
        print_json(found.json())
        return
    print(found.text())
    plots = over_runs.plot(found, out or _RUNS / "local" / "history" / figure)
    print(f"\nPlot: {', '.join(map(str, plots)) if plots else 'none, it takes two runs that compare'}")
