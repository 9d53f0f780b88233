"""Blocks: the data of one tensor in one type, quantized with llama.cpp's own kernels, in parallel, and kept.

Recipes share most of their (tensor, type) pairs. Each pair is quantized once for a model and an importance matrix, and kept
in a bounded cache from which files are assembled (assemble.py). What `ggml_quantize_chunk` makes of a tensor does not
depend on how its rows are divided, so the data are byte for byte those that llama_model_quantize writes.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.lowlevel import libggml
from bench.gguf_files.header import HeaderTensor
from bench.quantize.block_cache import BlockCache, Pair

#: Weights that a thread takes at a time: 8 MB as float32. Small enough to keep all threads busy to the end.
_CHUNK_WEIGHTS = 2**21


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


def read_weights(source: Path, tensor: HeaderTensor, start: int, end: int) -> NDArray[np.float32]:
    """Rows `start` to `end` of a tensor of a file, of all matrices that it stacks counted through. (rows, columns)"""
    columns = tensor.shape[0]
    row_bytes = tensor.n_bytes // (int(np.prod(tensor.shape, dtype=np.int64)) // columns)
    # read, not mapped: a mapped model would count as memory of this process, all of it
    raw = np.fromfile(source, np.uint8, (end - start) * row_bytes, offset=tensor.start + start * row_bytes)
    return dequantize(raw, tensor.type).reshape(end - start, columns)


def quantize_pairs(
    source: Path, pairs: Iterable[Pair], importance: dict[str, NDArray[np.float32]], threads: int
) -> Iterator[tuple[Pair, NDArray[np.uint8]]]:
    """The pairs' blocks, in order, by all threads at once, a few chunks ahead: memory holds a few tensors, never the model.

    importance: mean squared activations by tensor name, one row of them for each matrix that the tensor stacks.
    """
    waiting: deque[tuple[Pair, Future[NDArray[np.uint8]]]] = deque()
    parts: list[NDArray[np.uint8]] = []

    def chunk(pair: Pair, matrix: int, start: int, end: int) -> NDArray[np.uint8]:
        columns, rows = pair.tensor.shape[0], (*pair.tensor.shape, 1)[1]
        weights = read_weights(source, pair.tensor, matrix * rows + start, matrix * rows + end)
        means = importance.get(pair.tensor.name)
        of_matrix = None if means is None else np.ascontiguousarray(means.reshape(-1, columns)[matrix])
        return quantize_rows(weights, pair.kind, of_matrix)

    def finished(limit: int) -> Iterator[tuple[Pair, NDArray[np.uint8]]]:
        while len(waiting) > limit:
            pair, part = waiting.popleft()
            parts.append(part.result())
            if not waiting or waiting[0][0] is not pair:
                done = parts[0] if len(parts) == 1 else np.concatenate(parts)
                if done.size == pair.n_bytes:
                    yield pair, done
                    parts.clear()

    with ThreadPoolExecutor(threads) as pool:
        for pair in pairs:
            columns, rows = pair.tensor.shape[0], (*pair.tensor.shape, 1)[1]
            step = max(1, _CHUNK_WEIGHTS // columns)
            for matrix in range(int(np.prod(pair.tensor.shape[2:], dtype=np.int64))):
                for start in range(0, rows, step):
                    task = pool.submit(chunk, pair, matrix, start, min(start + step, rows))
                    waiting.append((pair, task))
                    yield from finished(4 * threads)
        yield from finished(0)


def obtain(
    source: Path, pairs: list[Pair], importance: dict[str, NDArray[np.float32]], cache: BlockCache, threads: int
) -> Iterator[tuple[Pair, NDArray[np.uint8]]]:
    """The pairs' blocks, in order: out of the cache, or made now and kept there. The cache is not trimmed.

    importance: as in `quantize_pairs`.
    """
    missing = [p for p in pairs if not cache.has(p)]
    made, absent = quantize_pairs(source, missing, importance, threads), set(missing)
    for pair in pairs:
        data = None if pair in absent else cache.load(pair)
        if data is None:
            # in the order of `made`, unless it was thought to be kept and is damaged: then by itself
            fresh = made if pair in absent else quantize_pairs(source, [pair], importance, threads)
            found, data = next(fresh)
            if found != pair:
                raise RuntimeError(f"{pair.tensor.name}: got the blocks of {found.tensor.name}")
            cache.store(pair, data)
        yield pair, data
