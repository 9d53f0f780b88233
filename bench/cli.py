"""The commands of `python -m bench`, and nothing else: options in, text or JSON out.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import cli_recipe
from bench.cli_options import (
    AllowQuantizedOption,
    CacheOption,
    CalibrationOption,
    ChunksOption,
    ImatrixOption,
    IsaOption,
    JsonOption,
    ModelArgument,
    ModelOption,
    NoImatrixOption,
    TextOption,
    ThreadsOption,
    WidenOption,
    WindowOption,
    WindowsOption,
    print_json,
)
from bench.errors import BenchError

app = typer.Typer(
    name="bench",
    help="Measure what GGUF quantizations cost and buy: perplexity, size and CPU speed of recipes, against one reference model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)

app.add_typer(cli_recipe.app, name="recipe")

#: The full rule, which leaves nothing to choose: choosing takes longer than all the rest of a quick run.
_QUICK_RECIPES = ("IQ2_XXS", "DG-FULL-IQ2_XXS")
_QUICK_WINDOWS = 2
_QUICK_CALIBRATION_CHUNKS = 12


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    pass


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
    text: TextOption = None,
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
    from bench.models import cache_directory
    from bench.options import DEFAULT_RECIPES, Options
    from bench.output import write_outputs
    from bench.progress import Reporter
    from bench.run import Sweep

    default = _QUICK_RECIPES if quick else DEFAULT_RECIPES
    chosen = default if recipes is None else _names(recipes)
    if quick:
        windows = _QUICK_WINDOWS if windows is None else windows
        calibration_chunks = calibration_chunks or (0 if imatrix or no_imatrix else _QUICK_CALIBRATION_CHUNKS)
    sweep = Sweep(
        Options(
            model=model,
            recipes=chosen,
            text=text,
            windows=windows,
            window=window,
            threads=threads,
            generate=generate,
            imatrix=imatrix,
            no_imatrix=no_imatrix,
            calibration=calibration,
            calibration_chunks=calibration_chunks,
            isa=isa,
            allow_quantized=allow_quantized,
            widen=widen,
            propagation=propagation,
            out=out,
            cache=cache_directory(cache),
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
    if propagation and sweep.states.pending(done):
        raise typer.Exit(1)


@app.command(short_help="Build the files of recipes.")
def quantize(
    recipes: Annotated[
        str, typer.Argument(metavar="RECIPE[,RECIPE...]", help="For instance IQ2_XXS, DG-IQ2_XXS or Q4_K_M.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write; for several recipes a directory for RECIPE.gguf.")
    ],
    model: ModelOption = None,
    imatrix: ImatrixOption = None,
    no_imatrix: NoImatrixOption = False,
    calibration: CalibrationOption = None,
    calibration_chunks: ChunksOption = 0,
    threads: ThreadsOption = None,
    allow_quantized: AllowQuantizedOption = False,
    widen: WidenOption = False,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the file of a recipe, or of several at once."""
    from bench import commands
    from bench.models import cache_directory
    from bench.options import Options
    from bench.progress import Reporter

    built: Any = commands.quantize_to(
        Options(
            model=model,
            recipes=_names(recipes),
            imatrix=imatrix,
            no_imatrix=no_imatrix,
            calibration=calibration,
            threads=threads,
            calibration_chunks=calibration_chunks,
            allow_quantized=allow_quantized,
            widen=widen,
            cache=cache_directory(cache),
        ),
        out,
        Reporter(),
    )
    if as_json:
        print_json(built if len(built) > 1 else built[0])
        return
    for file in built:
        print(f"{file['path']}: {file['bytes']:,} bytes, {file['bits_per_weight']:.3f} bits per weight")
        for tensor, (asked, stored) in file["replaced"].items():
            print(f"warning: {tensor}: llama.cpp stored {stored} instead of {asked}", file=sys.stderr)


@app.command(short_help="Compute an importance matrix.")
def imatrix(
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="The file to write, in llama.cpp's GGUF format.")],
    model: ModelOption = None,
    calibration: CalibrationOption = None,
    calibration_chunks: ChunksOption = 0,
    threads: ThreadsOption = None,
    allow_quantized: AllowQuantizedOption = False,
    widen: WidenOption = False,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the importance matrix of a model over a calibration text, as llama-imatrix does."""
    from bench import commands
    from bench.models import cache_directory
    from bench.options import Options
    from bench.progress import Reporter

    written: Any = commands.imatrix_to(
        Options(
            model=model,
            calibration=calibration,
            calibration_chunks=calibration_chunks,
            threads=threads,
            allow_quantized=allow_quantized,
            widen=widen,
            cache=cache_directory(cache),
        ),
        out,
        Reporter(),
    )
    if as_json:
        print_json(written)
    else:
        print(f"{out}: {written['bytes']:,} bytes")


@app.command(short_help="What each tensor's type does to the output.")
def sensitivity(
    types: Annotated[
        str,
        typer.Option("--types", help="Measure every tensor alone in these types too, separated by commas: IQ3_S,Q4_K."),
    ] = "",
    model: ModelOption = None,
    imatrix: ImatrixOption = None,
    no_imatrix: NoImatrixOption = False,
    calibration: CalibrationOption = None,
    calibration_chunks: ChunksOption = 0,
    threads: ThreadsOption = None,
    widen: WidenOption = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Directory for table and map [default: results/local/MODEL-sensitivity]."),
    ] = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what the type of each tensor does to the model's output: what DG and auto recipes are chosen by.

    Each tensor is quantized alone, in memory; the KL divergence from the reference is measured on calibration text, and
    compared with what the weighted error of the weights predicts. An interrupted measurement goes on with the same command.
    """
    from bench import commands
    from bench.models import cache_directory
    from bench.options import Options
    from bench.progress import Reporter
    from bench.recipe_files import check_types
    from bench.sensitivity_report import write_report

    others = tuple(check_types([t.strip().upper() for t in types.split(",") if t.strip()]))
    report = commands.measure_sensitivity(
        Options(
            model=model,
            imatrix=imatrix,
            no_imatrix=no_imatrix,
            calibration=calibration,
            calibration_chunks=calibration_chunks,
            threads=threads,
            widen=widen,
            cache=cache_directory(cache),
        ),
        others,
        Reporter(),
    )
    directory = out or Path("results") / "local" / f"{report.model.path.stem}-sensitivity"
    written = write_report(report, directory)
    if as_json:
        print_json({"directory": str(directory), "tensors": json.loads(report.frame().to_json(orient="records"))})
    else:
        print(report.markdown())
        print(f"Table and map: {', '.join(map(str, written))}")


@app.command(short_help="Perplexity of any GGUF file.")
def ppl(
    model: ModelArgument,
    text: TextOption = None,
    window: WindowOption = 2048,
    windows: Annotated[
        int | None, typer.Option("--windows", help="Number of windows to score [default: all of the text].")
    ] = None,
    threads: ThreadsOption = None,
    isa: IsaOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Perplexity of any GGUF file, by llama-perplexity's convention: its second halves of windows, without overlap."""
    from bench.process import start_server

    start_server()  # its imports and ours, side by side
    from bench import commands
    from bench.models import cache_directory
    from bench.progress import Reporter

    scored = commands.score(
        model,
        text=text,
        window=window,
        windows=windows,
        threads=threads,
        generate=0,
        timed=False,
        isa=isa,
        cache=cache_directory(cache),
        reporter=Reporter(),
    )
    if as_json:
        print_json(scored.perplexity_json())
    else:
        print(scored.perplexity_text())


@app.command("time", short_help="CPU speed and memory of any GGUF file.")
def time_command(
    model: ModelArgument,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed rounds, each from an empty context.")] = 5,
    window: WindowOption = 2048,
    generate: Annotated[int, typer.Option("--generate", min=1, help="Tokens to generate in each round.")] = 32,
    threads: ThreadsOption = None,
    isa: IsaOption = None,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """CPU speed of any GGUF file: seconds for a window, prompt and generation tokens/s, memory and load time."""
    from bench import commands
    from bench.models import cache_directory
    from bench.progress import Reporter

    scored = commands.score(
        model,
        text=None,
        window=window,
        windows=None,
        threads=threads,
        generate=generate,
        isa=isa,
        cache=cache_directory(cache),
        reporter=Reporter(),
        rounds=rounds,
    )
    if as_json:
        print_json(scored.speed_json())
    else:
        print(scored.speed_text())


@app.command(short_help="Tables and plots of a run again, from its records.")
def tables(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    as_json: JsonOption = False,
) -> None:
    """Write the tables and plots of a run again from its records, and print them."""
    from bench.output import write_outputs
    from bench.results import FILE_NAME, Run

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
    from bench.compare import comparison_table
    from bench.results import Run
    from bench.tables import markdown

    table = comparison_table(Run.load(run_a), Run.load(run_b))
    if as_json:
        print_json(table.to_dict("records"))
    else:
        print(f"A: {run_a}\nB: {run_b}\n\n{markdown(table)}")


@app.command(short_help="What a GGUF file is.")
def info(model: ModelArgument, as_json: JsonOption = False) -> None:
    """What a GGUF file is: architecture, layers, context, stored types, bits per weight."""
    from bench import commands

    found = commands.describe_file(model)
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            shown = (
                ", ".join(f"{k} {v:,}" for k, v in value.items())
                if isinstance(value, dict)
                else f"{value:,}"
                if isinstance(value, int)
                else value
            )
            print(f"{key.replace('_', ' '):<18} {shown}")


def _names(listed: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not names:
        raise BenchError("no recipe is named; name one or several, for instance IQ2_XXS,DG-IQ2_XXS")
    return names


def _run_as_json(run: Any, directory: Path) -> dict[str, object]:
    from bench.notes import notes, surprises
    from bench.tables import full_frame, published_table

    return {
        "directory": str(directory),
        "complete": run.is_complete,
        "identity": run.identity.model_dump(mode="json"),
        "comparison": published_table(run).to_dict("records"),
        "files": json.loads(full_frame(run).to_json(orient="records", double_precision=15)),
        "failures": [f.model_dump(mode="json") for f in run.failures],
        "notes": [*surprises(run), *notes(run)],
    }


def _print_summary(directory: Path, written: list[Path]) -> None:
    print(written[0].read_text(encoding="utf-8"))
    print(f"Records: {directory / 'records.jsonl'}")
    print(f"Tables and plots: {', '.join(str(p) for p in written)}")


class _Interrupted(BaseException):
    """Ctrl-C or a polite request to end."""


def main() -> None:
    """Run a command. An error is one line on standard error and exit code 2 (a bug shows its traceback); `--debug`, anywhere, shows its traceback."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]

    def interrupt(*_: object) -> None:
        raise _Interrupted

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # tables have a Δ, whatever the locale is
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, interrupt)
    try:
        app(arguments, prog_name="python -m bench")
    except (BenchError, OSError) as e:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"error: {' '.join(str(e).split())}", file=sys.stderr)
        sys.exit(2)
    except _Interrupted:
        print("interrupted; what was measured is kept, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
