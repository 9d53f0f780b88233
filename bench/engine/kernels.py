"""llama.cpp's kernels for the data of a tensor: conversion to a type and back."""

from __future__ import annotations

import ctypes
from functools import cache

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.lowlevel import libggml


class _TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h, as of llama-cpp-python 0.3.36 (pinned in pyproject.toml)."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block_size", ctypes.c_int64),
        ("block_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    )


@cache
def _traits(kind: gguf.GGMLQuantizationType) -> _TypeTraits:
    get = libggml.ggml_get_type_traits
    get.argtypes, get.restype = [ctypes.c_int], ctypes.POINTER(_TypeTraits)
    found: _TypeTraits = get(kind).contents
    return found


@cache
def _quantize_chunk() -> ctypes._NamedFuncPointer:
    function: ctypes._NamedFuncPointer = libggml.ggml_quantize_chunk
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    function.argtypes, function.restype = [ctypes.c_int, pointer, pointer, integer, integer, integer, pointer], ctypes.c_size_t  # fmt: skip
    return function


@cache
def _validate() -> ctypes._NamedFuncPointer:
    function: ctypes._NamedFuncPointer = libggml.ggml_validate_row_data
    function.argtypes, function.restype = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_bool
    return function


def dequantize(data: NDArray[np.uint8], kind: gguf.GGMLQuantizationType) -> NDArray[np.float32]:
    """Weights of blocks of any type, flat, as llama.cpp reads them."""
    if kind == gguf.GGMLQuantizationType.F32:
        return data.view(np.float32)
    data = np.ascontiguousarray(data)
    block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    weights = np.empty(data.size // n_bytes * block, np.float32)
    _traits(kind).to_float(data.ctypes.data, weights.ctypes.data, weights.size)
    return weights


def quantize_rows(
    rows: NDArray[np.float32], kind: gguf.GGMLQuantizationType, importance: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """Blocks of some rows of a matrix. rows: (rows, columns); importance: (columns,) mean squared activations, or None.

    Raises MeasurementError for weights that are not finite, as llama.cpp's quantizer does. Releases the interpreter's lock while it works.
    """
    block, n_bytes = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty(rows.size // block * n_bytes, np.uint8)
    weights = None if importance is None else importance.ctypes.data
    written = _quantize_chunk()(kind, rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], weights)
    if written != out.size:
        raise RuntimeError(f"ggml_quantize_chunk wrote {written} bytes instead of {out.size}")
    if not _validate()(kind, out.ctypes.data, out.size):
        raise MeasurementError(f"quantizing to {kind.name} gives values that are not finite; the model is broken")
    return out
