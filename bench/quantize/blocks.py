"""Blocks: the data of one tensor in one type, quantized with llama.cpp's own kernels, in parallel, and kept.

Recipes share most of their (tensor, type) pairs. Each pair is quantized once for a model and an importance matrix, and kept
in a bounded cache from which files are assembled (assemble.py). The result of `ggml_quantize_chunk` does not
depend on how the rows of a tensor are divided, so the data are byte for byte those that llama_model_quantize writes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.engine.kernels import dequantize, quantize_rows
from bench.gguf_files.header import HeaderTensor
from bench.quantize.block_cache import BlockCache, Pair

#: Weights that a thread takes at a time: 8 MB as float32. Small enough to keep all threads busy to the end.
_CHUNK_WEIGHTS = 2**21


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
