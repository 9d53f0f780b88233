"""`bench run`: the main job."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from bench.cli.options import MEASURES, FormatOption, IntervalsOption, JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()

#: The full rule, which leaves nothing to choose: choosing takes longer than all the rest of a quick run.
_QUICK_RECIPES = ("IQ2_XXS", "DG-FULL-IQ2_XXS")
_QUICK_WINDOWS = 2
_QUICK_CALIBRATION_CHUNKS = 12


@app.command(short_help="Build, score and time recipes; fill tables and plots.")
@with_options(
    "model", "recipes", "budget", "keep_together", "compare", "text", "dataset", "languages", "traces", MEASURES, "windows", "until", "window",
    "score", "threads", "generate", "no_speed", "score_on", "gpu_layers", "cluster", "imatrix", "no_imatrix", "calibration", "calibration_chunks", "prior_weight", "isa",
    "allow_quantized", "widen", "out", "cache",
)  # fmt: skip
def run(
    options: Options,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The whole chain in little time: one pair of recipes, 2 windows, less calibration."
        ),
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan of the run (time, disk, memory, where it goes) and stop.")
    ] = False,
    form: FormatOption = None,
    intervals: IntervalsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build every recipe, score and time it beside the reference, and fill the comparison tables and plots.

    A run that was interrupted goes on with the same command; recorded measurements are not repeated.
    Exit code 0: everything was measured; 1: some measurements failed; 2: the run is impossible as asked.
    """
    from bench.cli.program import program
    from bench.cli.shown import print_summary, run_as_json
    from bench.cli.table import Look, room
    from bench.core.progress import Reporter
    from bench.present.output import write_outputs
    from bench.sweep.dry_run import dry_run
    from bench.sweep.sweep import Sweep

    if quick:
        options = _quick(options)
    if dry:
        plan = dry_run(options, Reporter())
        if as_json:
            print_json(plan.json())
        else:
            print("\n".join(plan.lines(room())))
        return
    sweep = Sweep(options, Reporter())
    done = sweep.execute()
    write_outputs(done, sweep.directory, only_if_older=True)
    if as_json:
        print_json(run_as_json(done, sweep.directory))
    else:
        print_summary(done, sweep.directory, program(), Look(form, intervals))
    if sweep.has_failed(done):
        raise typer.Exit(1)


def _quick(options: Options) -> Options:
    """What is asked for, and little of what is not."""
    chunks = 0 if options.imatrix or options.no_imatrix else _QUICK_CALIBRATION_CHUNKS
    return replace(
        options,
        recipes=options.recipes or _QUICK_RECIPES,
        windows=_QUICK_WINDOWS if options.windows is None and options.until is None else options.windows,
        calibration_chunks=options.calibration_chunks or chunks,
    )
