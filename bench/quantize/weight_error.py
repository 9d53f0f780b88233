"""The cheap estimate of the effect of a type on a tensor: the weighted error of its weights. Used in a worker process.

With w the weights of a matrix, q their quantized values, and a(c) the mean squared activation of input column c from
the importance matrix (1 where there is none), the relative weighted error is

    sum over rows and columns of a(c) (w - q)^2  /  sum of a(c) w^2

which is the squared error of the matrix's output relative to the output, for activations whose columns are uncorrelated.
It is computed from rows at equal distances, enough of them for an accuracy of a percent.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.engine.kernels import dequantize, quantize_rows
from bench.execute.content import Site
from bench.execute.job import Share
from bench.gguf_files.header import HeaderTensor, read_header
from bench.quantize.blocks import read_weights
from bench.quantize.build import fitted_importance
from bench.quantize.jobs import WeightErrorJob, WeightErrorResult

#: Weights of a tensor that are looked at, at least.
_SAMPLE = 2**17


def weighted_sums(
    weights: NDArray[np.float32], quantized: NDArray[np.float32], importance: NDArray[np.float32] | None
) -> NDArray[np.float64]:
    """Weighted sums of squares of the differences and of the weights. weights, quantized: (rows, columns); importance: (columns,)."""
    factor = np.ones(weights.shape[1]) if importance is None else importance.astype(np.float64)
    difference = weights - quantized
    return np.array([np.einsum("rc,rc->c", x, x) @ factor for x in (difference, weights)])


def weight_errors(job: WeightErrorJob, site: Site, progress: Share) -> WeightErrorResult:
    """The relative weighted error of every tensor in every type that is asked for."""
    model = site.path(job.model)
    header, importance = read_header(model), fitted_importance(model, site.optional(job.importance))
    tensors = {t.name: t for t in header.tensors}
    found: dict[str, dict[str, float]] = {}
    with ThreadPoolExecutor(job.threads) as pool:
        tasks = {
            name: pool.submit(_errors_of, model, tensors[name], types, importance.get(name))
            for name, types in job.types.items()
        }
        for i, (name, task) in enumerate(tasks.items()):
            found[name] = task.result()
            progress((i + 1) / len(tasks))
    return WeightErrorResult(errors=found)


def _errors_of(
    model: Path, tensor: HeaderTensor, types: tuple[str, ...], importance: NDArray[np.float32] | None
) -> dict[str, float]:
    columns = tensor.shape[0]
    total = int(np.prod(tensor.shape[1:], dtype=np.int64))
    rows_of_matrix = (*tensor.shape, 1)[1]
    rows = np.unique(np.linspace(0, total - 1, min(total, -(-_SAMPLE // columns))).astype(np.int64))
    sums = {t: np.zeros(2) for t in types}
    for matrix in np.unique(rows // rows_of_matrix):
        chosen = rows[rows // rows_of_matrix == matrix]
        weights = np.concatenate([read_weights(model, tensor, int(r), int(r) + 1) for r in chosen])
        means = None if importance is None else np.ascontiguousarray(importance.reshape(-1, columns)[matrix])
        for t in types:
            kind = gguf.GGMLQuantizationType[t]
            if kind == tensor.type:
                sums[t] += weighted_sums(weights, weights, means)
            else:
                quantized = dequantize(quantize_rows(weights, kind, means), kind)
                sums[t] += weighted_sums(weights, quantized.reshape(weights.shape), means)
    return {t: float(s[0] / s[1]) if s[1] else 0.0 for t, s in sums.items()}
