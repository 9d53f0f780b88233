"""`bench quantize`: the files of recipes, without a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import MAKING, ForceOption, JsonOption, names, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Build the files of recipes.")
@with_options("budget", "keep_together", *MAKING)
def quantize(
    recipes: Annotated[
        str, typer.Argument(metavar="RECIPE[,RECIPE...]", help="For instance IQ2_XXS, DG-IQ2_XXS or Q4_K_M.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The file to write; for several recipes a directory for a file each.")
    ],
    options: Options,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Build the file of a recipe, or of several at once."""
    from bench.choose.on_request import quantize_to
    from bench.core.progress import Reporter
    from bench.workbench.work import Work

    built: Any = quantize_to(Work(replace(options, recipes=names(recipes)), Reporter()), out, force=force)
    if as_json:
        print_json(built if len(built) > 1 else built[0])
        return
    for file in built:
        print(f"{file['path']}: {file['bytes']:,} bytes, {file['bits_per_weight']:.3f} bits per weight")
        for tensor, (asked, stored) in file["replaced"].items():
            print(f"warning: {tensor}: llama.cpp stored {stored} instead of {asked}", file=sys.stderr)
