"""`bench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.options import JsonOption, print_json

if TYPE_CHECKING:
    from bench.records.run import Run

app = typer.Typer()


@app.command(short_help="Paired differences between two runs.")
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of a run.")],
    run_b: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_B", help="Directory of another run of the same thing, or of another model on the same text."
        ),
    ],
    all_pairs: Annotated[
        bool,
        typer.Option("--all", help="Of two models: every pair of files, not only those of similar size."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Paired differences between two runs, recipe by recipe; refused, with the reasons, when they are not comparable.

    Runs of different machines are compared in all but speed, if both used the same build of the engine.

    Runs of different models on the same text are compared by bits per byte of the text that both scored, whatever their vocabularies.
    """
    from bench.measures.registry import load_run
    from bench.present.compare_models import are_of_two_models

    a, b = load_run(run_a), load_run(run_b)
    if are_of_two_models(a, b):
        _models(a, b, run_a, run_b, all_pairs=all_pairs, as_json=as_json)
        return
    from bench.cli.shown import print_table
    from bench.present.compare import comparison_frame, comparison_notes, comparison_table

    if as_json:
        print_json(comparison_frame(a, b).to_dict("records"))
    else:
        table = comparison_table(a, b)
        print(f"A: {run_a}\nB: {run_b}\n")
        print_table(table)
        print("".join(f"\n- {said}" for said in comparison_notes(a, b, table)))


def _models(a: Run, b: Run, run_a: Path, run_b: Path, *, all_pairs: bool, as_json: bool) -> None:
    from bench.cli.shown import print_table
    from bench.present.compare_models import KEY, ModelComparison

    found = ModelComparison(a, b)
    if as_json:
        print_json(found.frame().to_dict("records"))
        return
    print(f"A: {run_a}, {a.identity.model.name}\nB: {run_b}, {b.identity.model.name}\n")
    print_table(found.table(everything=all_pairs))
    print(f"\n{KEY}\n" + "".join(f"\n- {said}" for said in found.notes(everything=all_pairs)))
