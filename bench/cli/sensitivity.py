"""`bench sensitivity`: the effect of each tensor's type on the output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="The effect of each tensor's type on the output.")
@with_options(
    "model",
    "imatrix",
    "no_imatrix",
    "calibration",
    "calibration_chunks",
    "prior_weight",
    "threads",
    "score_on",
    "gpu_layers",
    "widen",
    "cache",
)
def sensitivity(
    options: Options,
    types: Annotated[
        str,
        typer.Option("--types", help="Measure every tensor alone in these types too, separated by commas: IQ3_S,Q4_K."),
    ] = "",
    windows: Annotated[
        int | None,
        typer.Option(
            "--windows",
            min=1,
            metavar="N",
            help="Windows of 256 tokens of the calibration text to measure on; 6 and more give intervals [default: 2].",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Directory for table and map [default: results/local/MODEL-sensitivity]."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the effect of each tensor's type on the model's output. DG and auto recipes are chosen by these figures.

    Each tensor is quantized alone, in memory; the KL divergence from the reference is measured on calibration text, and
    compared with the prediction from the weighted error of the weights. All tensors together, and those of each kind, tell whether damages add
    up. An interrupted measurement goes on with the same command.
    """
    from bench.choose.on_request import measure_sensitivity
    from bench.core.progress import Reporter
    from bench.present.sensitivity import SensitivityReport
    from bench.present.sensitivity_files import write_report
    from bench.recipes.files import check_types
    from bench.workbench.work import Work

    others = tuple(check_types([t.strip().upper() for t in types.split(",") if t.strip()]))
    report = SensitivityReport(measure_sensitivity(Work(options, Reporter()), others, windows))
    directory = out or Path("results") / "local" / f"{report.model.path.stem}-sensitivity"
    written = write_report(report, directory)
    if as_json:
        tables = {"tensors": report.frame(), "additivity": report.additivity_frame()}
        told = {
            name: json.loads(frame.to_json(orient="records", double_precision=15)) for name, frame in tables.items()
        }
        print_json({"directory": str(directory), **told})
    else:
        print(report.markdown())
        print(f"Table and map: {', '.join(map(str, written))}")
