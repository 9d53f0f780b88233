"""`python -m bench quantize`, `imatrix`, `sensitivity`: what is made of a reference model, apart from a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import (
    AllowQuantizedOption,
    CacheOption,
    CalibrationOption,
    ChunksOption,
    ImatrixOption,
    JsonOption,
    ModelOption,
    NoImatrixOption,
    ThreadsOption,
    WidenOption,
    names,
    options_from,
    print_json,
)

app = typer.Typer()


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
    given = locals()
    from bench.core.progress import Reporter
    from bench.sweep import commands

    built: Any = commands.quantize_to(
        options_from(given, recipes=names(recipes)),
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
    given = locals()
    from bench.core.progress import Reporter
    from bench.sweep import commands

    written: Any = commands.imatrix_to(
        options_from(given),
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
    given = locals()
    from bench.core.progress import Reporter
    from bench.present.sensitivity import write_report
    from bench.recipes.files import check_types
    from bench.sweep import commands

    others = tuple(check_types([t.strip().upper() for t in types.split(",") if t.strip()]))
    report = commands.measure_sensitivity(
        options_from(given),
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
