"""Importance matrices collected from a calibration text, as llama-imatrix does.

The text is cut into chunks, each with an empty context. The activations that enter a product with a `blk.*` weight have a row
per token; the rows are squared and summed over all tokens. Expert tensors keep a sum and a count for each expert.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.execute.content import Site
from bench.execute.job import Share
from bench.quantize.imatrix import Entry, ImportanceMatrix, write
from bench.quantize.jobs import ImportanceJob, ImportanceResult
from bench.texts.stream import TokenStream

CHUNK_TOKENS = 512


def collect(
    model_path: Path, tokens: NDArray[np.int32], *, threads: int, progress: Callable[[float], None]
) -> dict[str, Entry]:
    """Run the calibration tokens through the model and sum its squared activations.

    tokens: at least one chunk; what is left after the last whole chunk is not used. Raises BenchError when there is
    less than a chunk or an activation is not finite.
    """
    from bench.engine.graph import MatMul, matmul_callback
    from bench.engine.llama import Context, Model  # loads the native library: only in a worker

    n_chunks = len(tokens) // CHUNK_TOKENS
    if n_chunks == 0:
        raise BenchError(
            f"the calibration text has {len(tokens)} tokens, fewer than one chunk of {CHUNK_TOKENS}; give a longer --calibration text"
        )
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, NDArray[np.float64]] = {}

    def observe(product: MatMul) -> None:
        x = product.activations
        columns = x.shape[-1]
        if product.weight not in sums:
            sums[product.weight] = np.zeros((product.n_matrices, columns))
            # Stacked matrices that all tokens enter (of latent attention) share one count, as llama-imatrix writes them.
            counts[product.weight] = np.zeros(1 if product.experts is None else product.n_matrices)
        total, seen = sums[product.weight], counts[product.weight]
        if product.experts is None:
            for i, group in enumerate(x.reshape(-1, *x.shape[-2:])):
                total[i % product.n_matrices] += np.einsum("rc,rc->c", group, group)
            seen += x.size // columns // product.n_matrices
        else:
            # activations (1, tokens, experts used or 1, columns); experts (tokens, experts used)
            for slot in range(product.experts.shape[1]):
                rows = x[0, :, slot % x.shape[2]]
                for expert in np.unique(product.experts[:, slot]):
                    chosen = rows[product.experts[:, slot] == expert]
                    total[expert] += np.einsum("rc,rc->c", chosen, chosen)
                    seen[expert] += len(chosen)

    callback = matmul_callback(observe, lambda name: name.startswith("blk."), min_rows=16)
    with (
        Model(model_path) as model,
        Context(
            model, n_ctx=CHUNK_TOKENS, n_batch=CHUNK_TOKENS, n_ubatch=CHUNK_TOKENS, threads=threads, callback=callback
        ) as context,
    ):
        for i in range(n_chunks):
            chunk = tokens[i * CHUNK_TOKENS : (i + 1) * CHUNK_TOKENS].copy()
            if model.bos is not None:
                chunk[0] = model.bos
            context.clear()
            # Logits for every token: llama.cpp computes the last layer only for tokens whose logits are wanted.
            context.prepare(chunk, 0)
            context.decode()
            progress((i + 1) / n_chunks)
    for name, total in sums.items():
        if not np.isfinite(total).all():
            raise BenchError(
                f"{model_path}: activations entering {name} are not finite; the model is broken or overflows in this precision"
            )
    return {
        name: Entry(total.reshape(len(counts[name]), -1).astype(np.float32), counts[name].astype(np.float32))
        for name, total in sorted(sums.items())
    }


def importance(job: ImportanceJob, site: Site, progress: Share) -> ImportanceResult:
    """Collect the matrix that the job asks for and write it."""
    started = time.perf_counter()
    tokens = TokenStream.load(site.path(job.stream)).tokens
    chunks = len(tokens) // CHUNK_TOKENS
    chunks = min(chunks, job.chunks) if job.chunks else chunks
    tokens = tokens[: max(chunks, 1) * CHUNK_TOKENS]
    entries = collect(site.path(job.model), tokens, threads=job.threads, progress=progress)
    write(ImportanceMatrix(entries, (job.dataset,), chunks, CHUNK_TOKENS), site.path(job.out))
    return ImportanceResult(chunks=chunks, seconds=time.perf_counter() - started)
