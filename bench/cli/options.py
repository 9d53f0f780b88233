"""Options of commands: those of Options and of the measures, as typed values, and those that do not belong to a run.

A command takes one parameter `options`. `with_options` replaces it by the options that the command names, with the flags, help
and ranges beside them (workbench/options.py and the measures' options.py), and passes one Options to the command.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.measures.folders import option_types
from bench.workbench.options import Options

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A GGUF file, a part of a split one, or hf:owner/repo:file.gguf.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help=next(f for f in fields(Options) if f.name == "cache").metadata["help"]),
]
FormatOption = Annotated[
    Literal["md", "table"] | None,
    typer.Option(
        "--format", help="Markdown or a table as wide as the terminal [default: table on a terminal, else md]."
    ),
]
IntervalsOption = Annotated[
    bool, typer.Option("--intervals", help="Show intervals even where other columns must go to make room for them.")
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what is there.")]
WindowOption = Annotated[int, typer.Option("--window", min=4, help="Tokens in a window.")]

#: Stands among the names of options for those of all measures; behind the prefix for those of one.
MEASURES, ONE_MEASURE = "...", "measure:"
#: What files of recipes are made with.
MAKING = (
    "model", "imatrix", "no_imatrix", "calibration", "calibration_chunks", "prior_weight", "threads", "score_on", "gpu_layers", "allow_quantized",
    "widen", "cache",
)  # fmt: skip


def with_options(*names: str, **helps: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put options in the place of a command's parameter `options`.

    names: fields of Options, in the order of the help; MEASURES for all that measures are asked for, `measure:FOLDER` for
    one of them. helps: other help for
    some of them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        asked = list(_parameters(names, helps))
        taken = [p for name, p in own.parameters.items() if name != "options"]
        first = [p for p in taken if p.default is p.empty]
        rest = [p for p in taken if p.default is not p.empty]

        @wraps(command)
        def run(**given: Any) -> None:
            chosen = {p.name: given.pop(p.name) for p in asked}
            command(options=_options(chosen), **given)

        parameters = [*first, *asked, *rest]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _parameters(names: tuple[str, ...], helps: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    known, types = {f.name: f for f in fields(Options)}, get_type_hints(Options)
    for name in names:
        if name == MEASURES or name.startswith(ONE_MEASURE):
            for folder, of_measure in option_types().items():
                if name in (MEASURES, ONE_MEASURE + folder):
                    own_types = get_type_hints(of_measure)
                    flagged = (f for f in fields(of_measure) if "flag" in f.metadata)
                    yield from (_parameter(f, own_types[f.name], helps.get(f.name)) for f in flagged)
        else:
            yield _parameter(known[name], types[name], helps.get(name))


def _parameter(field: Field[Any], kind: Any, help: str | None = None) -> inspect.Parameter:
    """How an option is typed on the command line."""
    told, default = field.metadata, field.default
    if "listed" in told:
        kind, default = str | None, None
    elif "many" in told:
        kind, default = list[str] | None, None
    elif field.name == "cache":
        kind, default = Path | None, None
    range_ = {"min": told["min"]} if "min" in told else {}
    annotation = Annotated[kind, typer.Option(*_flags(told), help=help or told["help"], **range_)]
    return inspect.Parameter(
        field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation
    )


def _flags(told: Mapping[str, Any]) -> list[str]:
    return [told["flag"], told["short"]] if "short" in told else [told["flag"]]


def _options(chosen: Mapping[str, Any]) -> Options:
    """What was asked, as one value. Raises BenchError for an empty list."""
    measures = {name: _made(kind, chosen) for name, kind in option_types().items()}
    made: Options = _made(Options, {**chosen, "measures": measures, "cache": cache_directory(chosen.get("cache"))})
    return made


def _made(kind: type, chosen: Mapping[str, Any]) -> Any:
    values = {}
    for field in fields(kind):
        if field.name in chosen and chosen[field.name] is not None:
            value = chosen[field.name]
            if "listed" in field.metadata:
                value = names(value, *field.metadata["listed"])
            values[field.name] = tuple(value) if "many" in field.metadata else value
    return kind(**values)


def names(listed: str, what: str = "recipe", example: str = "IQ2_XXS,DG-IQ2_XXS") -> tuple[str, ...]:
    """What a list separated by commas names. Raises BenchError for an empty one."""
    found = tuple(name.strip() for name in listed.split(",") if name.strip())
    if not found:
        raise BenchError(f"no {what} is named; name one or several, for instance {example}")
    return found


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
