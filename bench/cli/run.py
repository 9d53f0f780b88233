"""`python -m bench run`, `sample`, `tables`, `compare`: a run and what is made of its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import (
    AllowQuantizedOption,
    CacheOption,
    CalibrationOption,
    ChunksOption,
    CompareOption,
    DatasetOption,
    ImatrixOption,
    IsaOption,
    JsonOption,
    ModelOption,
    NoImatrixOption,
    TextOption,
    ThreadsOption,
    WidenOption,
    WindowOption,
    WindowsOption,
    names,
    options_from,
    print_json,
)

app = typer.Typer()

#: The full rule, which leaves nothing to choose: choosing takes longer than all the rest of a quick run.
_QUICK_RECIPES = ("IQ2_XXS", "DG-FULL-IQ2_XXS")
_QUICK_WINDOWS = 2
_QUICK_CALIBRATION_CHUNKS = 12


@app.command(short_help="Build, score and time recipes; fill tables and plots.")
def run(
    model: ModelOption = None,
    recipes: Annotated[
        str | None,
        typer.Option(
            "--recipes",
            help="Recipes, separated by commas, for instance IQ2_XXS,DG-IQ2_XXS,Q4_K_M [default: the five 1-2 bit types and their DynamicGate counterparts].",
        ),
    ] = None,
    compare: CompareOption = None,
    text: TextOption = None,
    dataset: DatasetOption = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            help="Also score these kinds of prompt, separated by commas: fim (infill problems), chat (conversations, with the model's "
            "template), or a file of JSON lines with prefix, suffix and middle, or with messages.",
        ),
    ] = None,
    assistant_only: Annotated[
        bool, typer.Option("--assistant-only", help="Of conversations score the assistant's tokens only.")
    ] = False,
    windows: WindowsOption = None,
    window: WindowOption = 2048,
    threads: ThreadsOption = None,
    generate: Annotated[int, typer.Option("--generate", min=0, help="Tokens to generate in each timed round.")] = 32,
    imatrix: ImatrixOption = None,
    no_imatrix: NoImatrixOption = False,
    calibration: CalibrationOption = None,
    calibration_chunks: ChunksOption = 0,
    isa: IsaOption = None,
    allow_quantized: AllowQuantizedOption = False,
    widen: WidenOption = False,
    propagation: Annotated[
        bool,
        typer.Option(
            "--propagation", help="Also measure how far the hidden states of every layer are from the reference's."
        ),
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=0, help="Also complete some beginnings by this many tokens, side by side (see `sample`)."
        ),
    ] = 0,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The whole chain in little time: one pair of recipes, 2 windows, less calibration."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory of the run [default: results/local/MODEL-ID].")
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build every recipe, score and time it beside the reference, and fill the comparison tables and plots.

    A run that was interrupted goes on with the same command; what is on record is not done again.
    Exit code 0: everything was measured; 1: some measurements failed; 2: the run is impossible as asked.
    """
    given = locals()
    from bench.core.progress import Reporter
    from bench.present.output import write_outputs
    from bench.sweep.sweep import Sweep
    from bench.workbench.options import DEFAULT_RECIPES

    default = _QUICK_RECIPES if quick else DEFAULT_RECIPES
    chosen = default if recipes is None else names(recipes)
    if quick:
        windows = _QUICK_WINDOWS if windows is None else windows
        calibration_chunks = calibration_chunks or (0 if imatrix or no_imatrix else _QUICK_CALIBRATION_CHUNKS)
    sweep = Sweep(
        options_from(
            given,
            recipes=chosen,
            windows=windows,
            calibration_chunks=calibration_chunks,
            compare=tuple(compare or ()),
            kinds=names(kinds, "kind of prompt", "fim,chat") if kinds is not None else (),
        ),
        Reporter(),
    )
    done = sweep.execute()
    written = write_outputs(done, sweep.directory, only_if_older=True)
    if as_json:
        print_json(_run_as_json(done, sweep.directory))
    else:
        _print_summary(sweep.directory, written)
    if any(f.recipe in sweep.names for f in done.failures) or not all(done.results(name) for name in sweep.names):
        raise typer.Exit(1)
    if sweep.extras_pending(done):
        raise typer.Exit(1)


@app.command(short_help="The same beginnings completed by every file, side by side.")
def sample(
    model: ModelOption = None,
    recipes: Annotated[
        str | None, typer.Option("--recipes", help="Recipes, separated by commas [default: as for `run`].")
    ] = None,
    compare: CompareOption = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Complete this text; may be given several times [default: the beginning of a fixed text of every kind].",
        ),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens of a completion.")] = 48,
    text: TextOption = None,
    dataset: DatasetOption = None,
    windows: WindowsOption = None,
    window: WindowOption = 2048,
    threads: ThreadsOption = None,
    imatrix: ImatrixOption = None,
    no_imatrix: NoImatrixOption = False,
    calibration: CalibrationOption = None,
    calibration_chunks: ChunksOption = 0,
    allow_quantized: AllowQuantizedOption = False,
    widen: WidenOption = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Directory of the run that the samples go to [default: that of `run` with the same options]."
        ),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Complete the same beginnings with the reference and every recipe, always by the likeliest token, side by side.

    For each completion it tells the first token that is not the reference's and the share of tokens that agree: what a
    person looks at to see what few bits do. The samples go on record and into the tables of the run.
    """
    given = locals()
    from bench.core.progress import Reporter
    from bench.measures.samples.tables import samples_text
    from bench.present.output import write_outputs
    from bench.sweep.sweep import Sweep
    from bench.workbench.options import DEFAULT_RECIPES

    sweep = Sweep(
        options_from(
            given,
            recipes=DEFAULT_RECIPES if recipes is None else names(recipes),
            compare=tuple(compare or ()),
            samples=tokens,
            prompts=tuple(prompt or ()),
        ),
        Reporter(),
    )
    done = sweep.execute(samples_only=True)
    written = write_outputs(done, sweep.directory, only_if_older=True)
    if as_json:
        print_json([r.model_dump(mode="json", exclude={"run", "kind"}) for r in done.samples.values()])
    else:
        print(samples_text(done))
        print(f"\nRecords: {sweep.directory / 'records.jsonl'}\nTables: {written[0]}")
    if sweep.samples_pending(done):
        raise typer.Exit(1)


@app.command(short_help="Tables and plots of a run again, from its records.")
def tables(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Write the tables and plots of a run again from its records, and print them."""
    from bench.present.output import write_outputs
    from bench.records.run import FILE_NAME, Run

    if directory.name == FILE_NAME:
        directory = directory.parent
    found = Run.load(directory)
    written = write_outputs(found, directory)
    if as_json:
        print_json(_run_as_json(found, directory))
    else:
        _print_summary(directory, written)


@app.command(short_help="Paired differences between two runs.")
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of a run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Directory of another run of the same thing.")],
    as_json: JsonOption = False,
) -> None:
    """Paired differences between two runs, recipe by recipe; refused, with the reasons, when they do not compare."""
    from bench.measures.windows.tables import markdown
    from bench.present.compare import comparison_table
    from bench.records.run import Run

    table = comparison_table(Run.load(run_a), Run.load(run_b))
    if as_json:
        print_json(table.to_dict("records"))
    else:
        print(f"A: {run_a}\nB: {run_b}\n\n{markdown(table)}")


def _run_as_json(run: Any, directory: Path) -> dict[str, object]:
    from bench.measures.problems.tables import problem_table, title
    from bench.measures.propagation.tables import propagation_table
    from bench.measures.windows.tables import full_frame, published_table
    from bench.present.notes import notes, surprises

    return {
        "directory": str(directory),
        "complete": run.is_complete,
        "identity": run.identity.model_dump(mode="json"),
        "comparison": published_table(run).to_dict("records"),
        "files": json.loads(full_frame(run).to_json(orient="records", double_precision=15)),
        "problems": {title(p): problem_table(run, p).to_dict("records") for p in run.problem_sets},
        "samples": [r.model_dump(mode="json", exclude={"run", "kind"}) for r in run.samples.values()],
        "propagation": propagation_table(run).to_dict("records"),
        "failures": [f.model_dump(mode="json") for f in run.failures],
        "notes": [*surprises(run), *notes(run)],
    }


def _print_summary(directory: Path, written: list[Path]) -> None:
    print(written[0].read_text(encoding="utf-8"))
    print(f"Records: {directory / 'records.jsonl'}")
    print(f"Tables and plots: {', '.join(str(p) for p in written)}")
