"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json

app = typer.Typer()


@app.command(short_help="Paired differences between two runs.")
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of a run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Directory of another run of the same thing.")],
    as_json: JsonOption = False,
) -> None:
    """Paired differences between two runs, recipe by recipe; refused, with the reasons, when they are not comparable.

    Runs of different machines are compared in all but speed, if both used the same build of the engine.
    """
    from bench.cli.shown import print_table
    from bench.measures.registry import load_run
    from bench.present.compare import comparison_frame, comparison_notes, comparison_table

    a, b = load_run(run_a), load_run(run_b)
    if as_json:
        print_json(comparison_frame(a, b).to_dict("records"))
    else:
        table = comparison_table(a, b)
        print(f"A: {run_a}\nB: {run_b}\n")
        print_table(table)
        print("".join(f"\n- {said}" for said in comparison_notes(a, b, table)))
