"""llama.cpp's quantizer through its C API: the types that it would store. Used in worker processes only."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, nearest
from bench.engine.llama import listen, start_listening_for_errors, what_went_wrong
from bench.engine.lowlevel import lib

_SIZE_LINE = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]\s+(\S+)\s+- \[.*?\], type =\s*(\w+),.*size =.*MiB(?:.*\((\w+)\))?")
_FALLBACK_LINE = re.compile(r"(\S+)\s+- ncols.*required for type\s+(\w+)\).*falling back to\s+(\w+)")


@dataclass(frozen=True)
class Plan:
    """What llama.cpp will store: types by tensor name, and the types it had to replace as {name: (asked, stored)}."""

    types: dict[str, str]
    replaced: dict[str, tuple[str, str]]


def known_file_types() -> tuple[str, ...]:
    """Names of the formats this library can be asked for, such as IQ2_XXS or Q4_K_M."""
    prefixes = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
    return tuple(n.removeprefix(p) for p in prefixes for n in dir(lib) if n.startswith(p))


@dataclass(frozen=True)
class QuantizeRequest:
    """source: an unquantized GGUF; file_type: whose mix of types to use; overrides: types by tensor name that go before it.

    importance: mean squared activations by tensor name (imatrix.ImportanceMatrix.means), empty for none.
    """

    source: Path
    file_type: str
    overrides: dict[str, str]
    importance: dict[str, NDArray[np.float32]]


def plan(request: QuantizeRequest) -> Plan:
    """The types that llama.cpp would store, from a dry run that reads no weights and writes nothing.

    The C API returns only success or failure, so the plan is read from the log; a tensor that is missing there is an error.
    """
    types: dict[str, str] = {}
    replaced: dict[str, tuple[str, str]] = {}
    expected = 0

    def read(line: str) -> None:
        nonlocal expected
        if m := _SIZE_LINE.match(line):
            expected = int(m[2])
            types[m[3]] = (m[5] or m[4]).upper()
        elif m := _FALLBACK_LINE.search(line):
            replaced[m[1]] = (m[2].upper(), m[3].upper())

    run_quantizer(request, None, 1, read)
    if not expected or len(types) != expected:
        raise BenchError(
            f"{request.source}: only {len(types)} of {expected} tensors are in llama.cpp's plan for {request.file_type}; "
            "its log is not the one this program was made for, install the pinned llama-cpp-python"
        )
    return Plan(types, replaced)


def run_quantizer(request: QuantizeRequest, target: Path | None, threads: int, listener: Callable[[str], None]) -> None:
    """llama_model_quantize; a dry run when there is no target. Raises BenchError with llama.cpp's reason."""
    file_type = getattr(
        lib, f"LLAMA_FTYPE_MOSTLY_{request.file_type}", getattr(lib, f"LLAMA_FTYPE_ALL_{request.file_type}", None)
    )
    if file_type is None:
        raise BenchError(
            f"this llama.cpp has no format {request.file_type}{nearest(request.file_type, known_file_types())}"
        )
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.dry_run = file_type, threads, target is None
    params.allow_requantize = (
        True  # whether that is wanted was decided when the reference was chosen, see models/reference.py
    )
    if request.importance:
        entries = (lib.llama_model_imatrix_data * (len(request.importance) + 1))()  # ends with a NULL name
        values = {name: np.ascontiguousarray(v, np.float32) for name, v in request.importance.items()}
        for entry, (name, data) in zip(entries, values.items(), strict=False):
            entry.name, entry.size = name.encode(), data.size
            entry.data = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        params.imatrix = ctypes.cast(entries, type(params.imatrix))
    if request.overrides:
        table = (lib.llama_model_tensor_override * (len(request.overrides) + 1))()  # ends with a NULL pattern
        for override, (name, type_name) in zip(table, request.overrides.items(), strict=False):
            override.pattern = ("^" + name.replace(".", r"\.") + "$").encode()
            override.type = gguf.GGMLQuantizationType[type_name]
        params.tt_overrides = ctypes.cast(table, type(params.tt_overrides))
    start_listening_for_errors()
    with listen(listener):
        status = lib.llama_model_quantize(str(request.source).encode(), str(target or "").encode(), params)
    if status != 0:
        raise BenchError(
            f"{request.source.name}: llama.cpp could not make {request.file_type} of it ({what_went_wrong()})"
        )
