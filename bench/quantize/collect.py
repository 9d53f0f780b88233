"""Importance matrices collected from a calibration text, as llama-imatrix does.

The text is cut into chunks, each with an empty context. The activations that enter a product with a `blk.*` weight have a row
per token; the rows are squared and summed over all tokens. Expert tensors keep a sum and a count for each expert.

A few chunks together make a part. Each part is summed from zero, and the sums of parts are added in their order. So the matrix
is the same to the bit whoever summed which part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.execute.content import Site
from bench.execute.job import Share
from bench.quantize.imatrix import CHUNK_TOKENS, Entry, ImportanceMatrix
from bench.quantize.imatrix_file import write
from bench.quantize.jobs import ImportanceJob, ImportancePartJob, ImportanceResult
from bench.quantize.sums import PART_CHUNKS, Sums, parts_of
from bench.texts.stream import TokenStream

if TYPE_CHECKING:
    from bench.engine.context import Context
    from bench.engine.graph import MatMul
    from bench.engine.llama import Model
    from bench.engine.settings import Offload


def collect(
    model_path: Path,
    tokens: NDArray[np.int32],
    *,
    threads: int,
    progress: Callable[[float], None],
    offload: Offload | None = None,
) -> dict[str, Entry]:
    """Run the calibration tokens through the model and sum its squared activations.

    tokens: at least one chunk; what is left after the last whole chunk is not used. Raises BenchError when there is
    less than a chunk or an activation is not finite.
    """
    n_chunks = len(tokens) // CHUNK_TOKENS
    if n_chunks == 0:
        raise BenchError(
            f"the calibration text has {len(tokens)} tokens, fewer than one chunk of {CHUNK_TOKENS}; give a longer --calibration text"
        )
    total = Sums()
    with _collector(model_path, threads, offload) as collector:
        for part in range(parts_of(n_chunks)):
            chunks = range(part * PART_CHUNKS, min((part + 1) * PART_CHUNKS, n_chunks))
            total.add(collector.sums(tokens, chunks, lambda done: progress(done / n_chunks)))
    return total.entries(str(model_path))


@contextmanager
def _collector(model_path: Path, threads: int, offload: Offload | None = None) -> Iterator[_Collector]:
    """The model with what observes it."""
    from bench.engine.context import Context  # loads the native library: only in a worker
    from bench.engine.graph import matmul_callback
    from bench.engine.llama import Model

    sums: list[Sums] = [Sums()]
    callback = matmul_callback(
        lambda product: _observe(product, sums[0]), lambda name: name.startswith("blk."), min_rows=16
    )
    with (
        Model(model_path, offload=offload) as model,
        Context(
            model, n_ctx=CHUNK_TOKENS, n_batch=CHUNK_TOKENS, n_ubatch=CHUNK_TOKENS, threads=threads, callback=callback
        ) as context,
    ):
        yield _Collector(model, context, sums)


@dataclass
class _Collector:
    """_sums: one element, of the part that is under way."""

    _model: Model
    _context: Context
    _sums: list[Sums] = field(repr=False)

    def sums(self, tokens: NDArray[np.int32], chunks: range, progress: Callable[[int], None]) -> Sums:
        """Of some chunks of a text, summed from zero. progress: is told how many chunks from the text's start are done."""
        self._sums[0] = Sums()
        for i in chunks:
            chunk = tokens[i * CHUNK_TOKENS : (i + 1) * CHUNK_TOKENS].copy()
            if self._model.bos is not None:
                chunk[0] = self._model.bos
            self._context.clear()
            # Logits for every token: llama.cpp computes the last layer only for tokens whose logits are wanted.
            self._context.prepare(chunk, 0)
            self._context.decode()
            progress(i + 1)
        return self._sums[0]


def _observe(product: MatMul, sums: Sums) -> None:
    """Add the activations that enter a product."""
    x = product.activations
    columns = x.shape[-1]
    # Stacked matrices that all tokens enter (of latent attention) share one count, as llama-imatrix writes them.
    total, seen = sums.of(
        product.weight, product.n_matrices, columns, 1 if product.experts is None else product.n_matrices
    )
    if product.experts is None:
        for i, group in enumerate(x.reshape(-1, *x.shape[-2:])):
            total[i % product.n_matrices] += np.einsum("rc,rc->c", group, group)
        seen += x.size // columns // product.n_matrices
        return
    # activations (1, tokens, experts used or 1, columns); experts (tokens, experts used)
    for slot in range(product.experts.shape[1]):
        rows = x[0, :, slot % x.shape[2]]
        for expert in np.unique(product.experts[:, slot]):
            chosen = rows[product.experts[:, slot] == expert]
            total[expert] += np.einsum("rc,rc->c", chosen, chosen)
            seen[expert] += len(chosen)


def importance(job: ImportanceJob, site: Site, progress: Share) -> ImportanceResult:
    """Collect the matrix that the job asks for and write it."""
    started = time.perf_counter()
    tokens = TokenStream.load(site.path(job.stream)).tokens
    chunks = len(tokens) // CHUNK_TOKENS
    chunks = min(chunks, job.chunks) if job.chunks else chunks
    tokens = tokens[: max(chunks, 1) * CHUNK_TOKENS]
    entries = collect(site.path(job.model), tokens, threads=job.threads, progress=progress, offload=job.offload)
    write(ImportanceMatrix(entries, (job.dataset,), chunks, CHUNK_TOKENS), site.path(job.out))
    return ImportanceResult(chunks=chunks, seconds=time.perf_counter() - started)


def importance_part(job: ImportancePartJob, site: Site, progress: Share) -> ImportanceResult:
    """Sum one part of the calibration text and write the sums."""
    started = time.perf_counter()
    tokens = TokenStream.load(site.path(job.stream)).tokens
    with _collector(site.path(job.model), job.threads, job.offload) as collector:
        chunks = range(job.part * PART_CHUNKS, min((job.part + 1) * PART_CHUNKS, job.chunks))
        found = collector.sums(tokens, chunks, lambda done: progress((done - chunks.start) / len(chunks)))
    found.save(site.path(job.out))
    return ImportanceResult(chunks=len(chunks), seconds=time.perf_counter() - started)
