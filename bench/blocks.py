"""Blocks: the data of one tensor in one type, quantized with llama.cpp's own kernels, in parallel, and kept.

Recipes share most of their (tensor, type) pairs. Each pair is quantized once for a model and an importance matrix, and kept
in a bounded cache from which files are assembled (assemble.py). What `ggml_quantize_chunk` makes of a tensor does not
depend on how its rows are divided, so the data are byte for byte those that llama_model_quantize writes.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, MeasurementError
from bench.gguf_header import HeaderTensor
from bench.lowlevel import libggml

#: Weights that a thread takes at a time: 8 MB as float32. Small enough to keep all threads busy to the end.
_CHUNK_WEIGHTS = 2**21
#: What the cache of blocks may hold: the pairs of a dozen recipes of an 8B model.
DEFAULT_CACHE_BYTES = 32 * 10**9
_DIGEST = hashlib.sha256().digest_size


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


@dataclass(frozen=True)
class Pair:
    """A tensor and the type that it is wanted in."""

    tensor: HeaderTensor
    kind: gguf.GGMLQuantizationType

    @property
    def n_bytes(self) -> int:
        n_weights = int(np.prod(self.tensor.shape, dtype=np.int64))
        block, n_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return n_weights // block * n_bytes


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


def cache_limit() -> int:
    """Bytes that the cache of blocks may hold: BENCH_BLOCK_CACHE_GB, or the default. Raises BenchError for no number."""
    stated = os.environ.get("BENCH_BLOCK_CACHE_GB", "")
    try:
        limit = float(stated) * 1e9 if stated else DEFAULT_CACHE_BYTES
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise BenchError(
            f"BENCH_BLOCK_CACHE_GB={stated}: is no number of gigabytes; set for instance 32, or 0 to keep none"
        )
    return int(limit)


class BlockCache:
    """Blocks on disk, each with its checksum; the least recently used go when there are more bytes than `limit`.

    origin: names all that blocks depend on: model, importance matrix and library. limit: None for `cache_limit()`.
    """

    def __init__(self, directory: Path, origin: str, limit: int | None = None) -> None:
        self._root, self._directory = directory, directory / origin
        self._limit = cache_limit() if limit is None else limit
        #: Tensors whose blocks were damaged, and were thrown away.
        self.damaged: list[str] = []

    def _path(self, pair: Pair) -> Path:
        return self._directory / f"{pair.tensor.name}.{pair.kind.name}"

    def has(self, pair: Pair) -> bool:
        """Whether the blocks are there, by their size; `load` looks closer."""
        try:
            return self._path(pair).stat().st_size == _DIGEST + pair.n_bytes
        except OSError:
            return False

    def load(self, pair: Pair) -> NDArray[np.uint8] | None:
        """The blocks, or None when they are not there or damaged."""
        path = self._path(pair)
        try:
            raw = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        if len(raw) != _DIGEST + pair.n_bytes or hashlib.sha256(raw[_DIGEST:]).digest() != raw[:_DIGEST]:
            self.damaged.append(pair.tensor.name)
            path.unlink(missing_ok=True)
            return None
        return np.frombuffer(raw, np.uint8, offset=_DIGEST)

    def store(self, pair: Pair, data: NDArray[np.uint8]) -> None:
        """Keep blocks. A disk that is full costs the keeping, not the file that they are for."""
        path = self._path(pair)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as f:
                f.write(hashlib.sha256(data.data).digest())
                f.write(data.data)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)

    def trim(self) -> None:
        """Throw out what was used least recently, of all models, until the rest is within the limit."""
        found = []
        for path in self._root.glob("*/*"):
            with suppress(OSError):  # another process has renamed or removed it
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        excess = sum(size for _, size, _ in found) - self._limit
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


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
