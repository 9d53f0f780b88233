"""`bench imatrix`: an importance matrix, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli.options import ForceOption, JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


@app.command(short_help="Compute an importance matrix.")
@with_options("model", "calibration", "calibration_chunks", "threads", "allow_quantized", "widen", "cache")
def imatrix(
    out: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="The file to write, in llama.cpp's GGUF format.")],
    options: Options,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute the importance matrix of a model over a calibration text, as llama-imatrix does."""
    from bench.choose.on_request import imatrix_to
    from bench.core.progress import Reporter
    from bench.workbench.work import Work

    written: Any = imatrix_to(Work(options, Reporter()), out, force=force)
    if as_json:
        print_json(written)
    else:
        print(f"{out}: {written['bytes']:,} bytes")
