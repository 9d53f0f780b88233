"""Importance matrices: the mean of squared activations of every input column, by weight tensor.

Definition as llama-imatrix has it: over all tokens of the calibration text, cut into chunks (512 tokens unless told),
each with its own empty context, every token's row of the activations that enter a product with a `blk.*` weight is
squared and summed; the quantizer gets sum / number of rows. Expert tensors keep a sum and a count for each expert.

Two file formats hold one: the current GGUF format (raw sums `NAME.in_sum2` and counts `NAME.counts`) and the older
binary one. Both are read; the GGUF format is written.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.execute.content import Site
from bench.execute.job import Share
from bench.gguf_files.info import ModelInfo, open_gguf
from bench.quantize.jobs import ImportanceJob, ImportanceResult
from bench.texts.stream import TokenStream

CHUNK_TOKENS = 512
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Entry:
    """sums: float32 (counts, columns) of squared activations; counts: float32 (counts,) rows that were summed.

    There is a count for each expert. Other stacked matrices have one together, and their columns one after another.
    """

    sums: NDArray[np.float32]
    counts: NDArray[np.float32]

    def means(self) -> NDArray[np.float32]:
        """Flat (matrices * columns) means; an expert that saw no token gets 1 everywhere, as llama-quantize does."""
        seen = self.counts > 0
        means = np.ones_like(self.sums)
        means[seen] = self.sums[seen] / self.counts[seen, None]
        return means.ravel()


@dataclass(frozen=True)
class ImportanceMatrix:
    """Entries by weight tensor name, with where they came from."""

    entries: dict[str, Entry]
    datasets: tuple[str, ...]
    chunks: int
    chunk_tokens: int

    def means(self) -> dict[str, NDArray[np.float32]]:
        """What the quantizer takes."""
        return {name: entry.means() for name, entry in self.entries.items()}

    def fitted(self, model: ModelInfo, path: Path) -> ImportanceMatrix:
        """The same for a model: entries of stacked matrices split as the model has them (the binary format has them flat).

        Raises BenchError when the entries are of another model, by tensor names and widths.
        """
        shapes = {t.name: t.shape for t in model.tensors}
        if not shapes.keys() & self.entries.keys():
            raise BenchError(
                f"{path}: none of its tensors are in {model.path.name}; it belongs to another model, leave --imatrix out to compute one"
            )
        entries = {}
        for name, entry in self.entries.items():
            if name not in shapes:
                continue
            columns, matrices = shapes[name][0], int(np.prod(shapes[name][2:], dtype=np.int64))
            if entry.sums.size not in (columns, columns * matrices):
                raise BenchError(
                    f"{path}: {name} has {entry.sums.shape[1]} columns here and {columns} in {model.path.name}; "
                    "it belongs to another model, leave --imatrix out to compute one"
                )
            sums = entry.sums.reshape(-1, columns)
            entries[name] = Entry(sums, np.resize(entry.counts, len(sums)))
        return replace(self, entries=entries)


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


def check_fits(path: Path, model: ModelInfo) -> None:
    """Raise BenchError when a file is no importance matrix, or that of another model: by tensor names, widths and layers.

    Layers that predict further tokens (`nextn`) are never run over a text, so a matrix need not have them.
    """
    matrix = read(path)
    matrix.fitted(model, path)
    of_model = _layers(t.name for t in model.tensors if len(t.shape) > 1)
    covered = _layers(matrix.entries)
    spared = _layers(t.name for t in model.tensors if ".nextn." in t.name)
    if not of_model - spared <= covered <= of_model:
        raise BenchError(
            f"{path}: is of {len(covered)} layers and {model.path.name} has {len(of_model)}; it belongs to another model, leave "
            "--imatrix out to compute one"
        )


def _layers(names: Iterable[str]) -> set[int]:
    return {int(found[1]) for name in names if (found := _LAYER.match(name))}


def write(matrix: ImportanceMatrix, path: Path) -> None:
    """Write the GGUF format of llama-imatrix."""
    writer = gguf.GGUFWriter(None, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", list(matrix.datasets))
    writer.add_uint32("imatrix.chunk_count", matrix.chunks)
    writer.add_uint32("imatrix.chunk_size", matrix.chunk_tokens)
    for name, entry in matrix.entries.items():
        writer.add_tensor(f"{name}.in_sum2", entry.sums)
        writer.add_tensor(f"{name}.counts", entry.counts.reshape(-1, 1))
    with complete_or_absent(path) as partial:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read(path: Path) -> ImportanceMatrix:
    """Read either format. Raises BenchError for a file that is neither."""
    if not path.is_file():
        raise BenchError(f"{path}: no such importance matrix; leave --imatrix out to compute one")
    with path.open("rb") as f:
        is_gguf = f.read(4) == b"GGUF"
    matrix = _read_gguf(path) if is_gguf else _read_legacy(path)
    if not matrix.entries:
        raise BenchError(f"{path}: holds no importance data; leave --imatrix out to compute one")
    for name, entry in matrix.entries.items():
        if not (np.isfinite(entry.sums).all() and np.isfinite(entry.counts).all()):
            raise BenchError(f"{path}: {name} holds values that are not finite; compute the importance matrix again")
    return matrix


def _read_gguf(path: Path) -> ImportanceMatrix:
    reader = open_gguf(path)
    suffixes = (".in_sum2", ".counts")
    data = {t.name: np.array(t.data, np.float32) for t in reader.tensors if t.name.endswith(suffixes)}

    def value(key: str, default: object) -> object:
        field = reader.get_field(key)
        return field.contents() if field else default

    entries = {}
    for name, sums in data.items():
        if name.endswith(".in_sum2"):
            stem = name.removesuffix(".in_sum2")
            matrices = sums.reshape(-1, sums.shape[-1])
            counts = data.get(f"{stem}.counts", np.empty(0)).ravel()
            if len(counts) not in (1, len(matrices)):
                raise BenchError(
                    f"{path}: {stem} has {len(matrices)} rows of sums and {len(counts)} counts; "
                    "the file is damaged, compute the importance matrix again"
                )
            entries[stem] = Entry(matrices, np.resize(counts, len(matrices)))  # one count may stand for all
    datasets = value("imatrix.datasets", [])
    return ImportanceMatrix(
        entries,
        tuple(str(d) for d in datasets) if isinstance(datasets, list) else (str(datasets),),
        int(str(value("imatrix.chunk_count", 0))),
        int(str(value("imatrix.chunk_size", 0))),
    )


def _read_legacy(path: Path) -> ImportanceMatrix:
    """The binary format: entries of (name, calls, values), the values being means times calls."""
    raw = path.read_bytes()
    position = 0

    def take(n: int) -> bytes:
        nonlocal position
        if n < 0 or position + n > len(raw):
            raise BenchError(f"{path}: is neither a GGUF nor a complete binary importance matrix; compute it again")
        position += n
        return raw[position - n : position]

    def integer() -> int:
        return int(struct.unpack("<i", take(4))[0])

    entries = {}
    n_entries = integer()
    if not 0 < n_entries < 1_000_000:
        raise BenchError(f"{path}: is no importance matrix; give a file that llama-imatrix wrote")
    for _ in range(n_entries):
        name = take(integer()).decode("utf-8", "replace")
        calls = integer()
        values = np.frombuffer(take(4 * integer()), "<f4")
        entries[name] = Entry(values.reshape(1, -1), np.array([max(calls, 1)], np.float32))
    chunks = integer() if position < len(raw) else 0
    dataset = take(integer()).decode("utf-8", "replace") if position < len(raw) else ""
    return ImportanceMatrix(entries, (dataset,) if dataset else (), chunks, 0)
