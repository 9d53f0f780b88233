"""`bench time`: speed and memory of any files, outside a run."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import JsonOption, print_json, with_options
from bench.workbench.options import Options

app = typer.Typer()


class Format(StrEnum):
    """How the figures are printed."""

    MD = "md"
    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


@app.command("time", short_help="Speed and memory of any GGUF files.")
@with_options("threads", "gpu_layers", "isa", "cache")
def time_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="GGUF files, each a path, a part of a split one, or hf:owner/repo:file.gguf."
        ),
    ],
    options: Options,
    prompt: Annotated[
        str, typer.Option("--prompt", "-p", metavar="N[,N...]", help="Tokens of prompts to process; 0 for none.")
    ] = "512",
    generate: Annotated[
        str, typer.Option("--generate", "-n", metavar="N[,N...]", help="Tokens to generate; 0 for none.")
    ] = "128",
    depths: Annotated[
        str,
        typer.Option(
            "--depths",
            "-d",
            metavar="N[,N...]",
            help="Tokens that the context holds already, for instance 0,2048,8192: each test is timed behind each of these.",
        ),
    ] = "0",
    cache_types: Annotated[
        str,
        typer.Option(
            "--cache-types",
            metavar="NAMES",
            help="Also time with the KV cache in these types, separated by commas, for instance q8_0,q4_0; K/V where they differ.",
        ),
    ] = "",
    # six, since fewer support no interval
    rounds: Annotated[
        int, typer.Option("--rounds", "-r", min=1, help="Timed rounds; in each, every file is timed once.")
    ] = 6,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="DEVICE",
            help="What is timed: cpu, gpu for the first GPU that the engine finds, or a device's name such as CUDA0 (see `doctor`).",
        ),
    ] = "cpu",
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", metavar="FILE", help="Draw the speeds over --depths, as PNG and SVG: a name with .png or .svg."
        ),
    ] = None,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="Form of the output; all but md have llama-bench's column names.")
    ] = Format.MD,
    as_json: JsonOption = False,
) -> None:
    """Speed of GGUF files on the CPU, or on a GPU: prompts and generation as llama-bench times them, memory and load time.

    Several files are timed side by side and compared with the first, with an interval. They give way to each other every 40 ms,
    and only undisturbed times count; on a GPU they are timed one after the other. Depths are reached by one prefill a round. Caches are compared with one in f16.
    """
    from bench.execute.local import warm_up

    warm_up("bench.measures.windows.throughput_worker")  # its imports and ours, side by side
    from bench.cli.shown import print_table
    from bench.core.progress import Reporter
    from bench.measures.windows.throughput import tests_of, time_together, timed_key, timed_rows, timed_table
    from bench.workbench.work import Work

    tests = tests_of(prompt, generate, depths, cache_types)
    if plot is not None:
        from bench.measures.windows.depth_plot import check_plot, plot_depths

        check_plot(plot, tests)
    timed = time_together(Work(options, Reporter()), list(dict.fromkeys(models)), tests, rounds, on)
    if plot is not None:
        plot_depths(timed, tests, plot)
    chosen = Format.JSON if as_json else output
    if chosen is Format.MD:
        print_table(timed_table(timed, tests))
        print(f"\n{timed_key(timed, tests)}")
        return
    rows = timed_rows(timed, tests)
    if chosen is Format.JSON:
        print_json(rows)
    elif chosen is Format.JSONL:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        columns = [c for c in rows[0] if not isinstance(rows[0][c], list)]  # samples have no place there
        writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
