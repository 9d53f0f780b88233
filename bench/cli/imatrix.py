"""`bench imatrix`: importance matrices, made, merged and shown, without a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.cli.options import ForceOption, JsonOption, print_json, with_options
from bench.workbench.options import Options

_MAKE = "make"


class _MakesByDefault(TyperGroup):
    """`imatrix OUT.gguf` stands for `imatrix make OUT.gguf`, as it did before there were other commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = (*self.commands, "-h", "--help")
        return super().parse_args(ctx, [_MAKE, *args] if args and args[0] not in known else args)


app = typer.Typer(
    cls=_MakesByDefault,
    no_args_is_help=False,
    name="imatrix",
    short_help="Make, merge or show importance matrices.",
    help="Make, merge or show importance matrices; imatrix OUT.gguf makes one.",
    rich_markup_mode=None,
)

_OutArgument = Annotated[
    Path, typer.Argument(metavar="OUT.gguf", help="The file to write, in llama.cpp's GGUF format.")
]


@app.command(_MAKE, short_help="Compute an importance matrix.")
@with_options(
    "model",
    "calibration",
    "calibration_chunks",
    "prior_weight",
    "threads",
    "score_on",
    "gpu_layers",
    "allow_quantized",
    "widen",
    "cache",
)
def make_command(
    out: _OutArgument,
    options: Options,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compute the importance matrix of a model over a calibration text, as llama-imatrix does."""
    from bench.choose.on_request import imatrix_to
    from bench.core.progress import Reporter
    from bench.workbench.work import Work

    written, found = imatrix_to(Work(options, Reporter()), out, force=force)
    if as_json:
        print_json({**written, "coverage": asdict(found)})
        return
    from bench.present.importance import coverage_words

    print("\n".join(coverage_words(found)))
    print(f"{out}: {written['bytes']:,} bytes")


@app.command(short_help="Merge importance matrices of several texts.")
@with_options("prior_weight")
def merge(
    out: _OutArgument,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Importance matrices of one model, in either format of llama-imatrix."),
    ],
    options: Options,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Merge matrices of several texts into one: sums and rows are added, so that every row counts the same, as llama-imatrix does."""
    from bench.quantize.imatrix_file import merge_to

    merged = merge_to(files, out, prior=options.prior_weight, force=force)
    if as_json:
        print_json(
            {"path": str(out), "bytes": out.stat().st_size, "datasets": merged.datasets, "chunks": merged.chunks}
        )
        return
    from bench.present.importance import origin_words

    print("\n".join(origin_words(merged)))
    print(f"{out}: {out.stat().st_size:,} bytes")


@app.command(short_help="Statistics of an importance matrix, and where its data are few.")
@with_options("model", model="The model that it belongs to, a GGUF file: tells which of its weights have no data.")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An importance matrix, in either format.")],
    options: Options,
    every: Annotated[bool, typer.Option("--all", help="A line for every tensor, not for every layer.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw it, as PNG and SVG: a name with .png or .svg."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What an importance matrix holds: what llama-imatrix --show-statistics prints, by layer or tensor, and how many rows experts saw.

    With --model FILE also which of the model's weights have no data.
    """
    from bench.gguf_files.info import inspect
    from bench.measures.plotting import check_plot_name
    from bench.present import importance as shown
    from bench.quantize import imatrix_file
    from bench.quantize.imatrix_statistics import by_layer, coverage, statistics

    if plot is not None:
        check_plot_name(plot)
    matrix = imatrix_file.read(file)
    info = None
    if options.model is not None:
        info = inspect(Path(options.model))
        imatrix_file.check_fits(file, info)
        matrix = matrix.fitted(info, file)
    tensors, found = statistics(matrix), coverage(matrix, info)
    if as_json:
        layers = [asdict(one) for one in by_layer(tensors)]
        about = {"datasets": matrix.datasets, "chunks": matrix.chunks, "chunk_tokens": matrix.chunk_tokens}
        about |= {"prior_weight": matrix.prior}
        print_json({**about, "coverage": asdict(found), "layers": layers, "tensors": [asdict(t) for t in tensors]})
    else:
        from bench.cli.shown import print_table
        from bench.cli.table import folded, room

        said = [*shown.origin_words(matrix), *shown.coverage_words(found)]
        print("\n".join(folded(line, room()) for line in said) + "\n")
        print_table(shown.tensor_table(tensors) if every else shown.layer_table(by_layer(tensors)))
        print(f"\n{folded(shown.TENSOR_KEY if every else shown.LAYER_KEY, room())}")
    if plot is not None and not shown.write_plot(tensors, f"{file.name}: {shown.origin_words(matrix)[0]}", plot):
        raise typer.Exit(1)
