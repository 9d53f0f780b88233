"""Importance matrices: the mean of squared activations of every input column, by weight tensor.

They are kept as raw sums and numbers of rows, as llama-imatrix's GGUF files have them (imatrix_file.py); the quantizer gets
sum / number of rows. So matrices of several texts are merged by adding, and a prior is some rows more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.gguf_files.info import ModelInfo

_LAYER = re.compile(r"blk\.(\d+)\.")
#: Tokens of a chunk where a file tells none: what llama-imatrix takes the calls of the binary format for.
CHUNK_TOKENS = 512
#: Prior weights beyond this drown any calibration text.
_MAX_PRIOR = 1e6


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

    def plus(self, sums: NDArray[np.float64] | float, counts: NDArray[np.float64] | float) -> Entry:
        """With sums and rows added, in float64 before they are rounded; what is too large then becomes infinite."""
        with np.errstate(over="ignore"):
            return Entry(
                (self.sums.astype(np.float64) + sums).astype(np.float32),
                (self.counts.astype(np.float64) + counts).astype(np.float32),
            )


@dataclass(frozen=True)
class ImportanceMatrix:
    """Entries by weight tensor name, with where they came from. chunk_tokens: 0 for a file of the binary format, whose counts are calls
    and no rows; prior: rows of ones that were added to each."""

    entries: dict[str, Entry]
    datasets: tuple[str, ...]
    chunks: int
    chunk_tokens: int
    prior: float = 0.0

    def means(self) -> dict[str, NDArray[np.float32]]:
        """What the quantizer takes."""
        return {name: entry.means() for name, entry in self.entries.items()}

    @property
    def knows_rows(self) -> bool:
        """Whether its counts are rows, expert by expert."""
        return self.chunk_tokens > 0

    def with_prior(self, weight: float, path: Path) -> ImportanceMatrix:
        """With `weight` rows of ones added: the mean becomes (sum + weight) / (rows + weight), a weighted average with the weight that
        the quantizer takes where there are no data (llama.cpp, pull request 15060). path: the file, to name it.

        Raises BenchError for a file that does not know its rows, one that has a prior already, and a weight out of range.
        """
        check_prior(weight)
        if not self.knows_rows:
            raise BenchError(
                f"{path}: is of llama-imatrix's binary format, which does not tell how many rows each expert saw, so --prior-weight cannot "
                "be weighed against them; give a matrix in GGUF format"
            )
        if self.prior:
            raise BenchError(
                f"{path}: has a prior of {self.prior:g} rows already; leave --prior-weight out, or give the matrix without it"
            )
        entries = {name: entry.plus(weight, weight) for name, entry in self.entries.items()}
        return replace(self, entries=entries, prior=float(weight))

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
            if entry.sums.size not in (columns, columns * matrices) or entry.sums.shape[1] % columns:
                raise BenchError(
                    f"{path}: {name} has {entry.sums.shape[1]} columns here and {columns} in {model.path.name}; "
                    "it belongs to another model, leave --imatrix out to compute one"
                )
            sums = entry.sums.reshape(-1, columns)
            entries[name] = Entry(sums, np.resize(entry.counts, len(sums)))
        return replace(self, entries=entries)


def check_prior(weight: float) -> None:
    """Raise BenchError for a number of rows that no prior has."""
    if not 0 <= weight <= _MAX_PRIOR:
        raise BenchError(
            f"--prior-weight {weight:g}: is out of range; give a number of rows from 0 to {_MAX_PRIOR:,.0f}"
        )


def merged(matrices: Sequence[tuple[Path, ImportanceMatrix]]) -> ImportanceMatrix:
    """The matrix of several texts together: sums and rows added, so that each row counts the same, as llama-imatrix merges.

    Calls of the binary format are taken for chunks of 512 tokens, as llama-imatrix takes them. Raises BenchError for fewer than two,
    for one of another model than the first (by names and widths of tensors), and for one with a prior, which would be counted twice.
    """
    if len(matrices) < 2:
        raise BenchError("there is one importance matrix only, and nothing to merge it with; name two or more")
    (first_path, first), *others = [(path, _in_rows(path, m)) for path, m in matrices]
    entries, datasets = dict(first.entries), [*first.datasets]
    for path, matrix in others:
        _check_alike(first_path, first, path, matrix)
        for name, entry in matrix.entries.items():
            if name in entries:
                entries[name] = _added(entries[name], entry)
            else:  # experts of a layer that the other texts never reached
                entries[name] = entry
        datasets += matrix.datasets
    size = next((m.chunk_tokens for _, m in matrices if m.chunk_tokens), CHUNK_TOKENS)
    most = max(float(e.counts.max()) for e in entries.values())
    return ImportanceMatrix(dict(sorted(entries.items())), tuple(dict.fromkeys(datasets)), int(most) // size, size)


def _in_rows(path: Path, matrix: ImportanceMatrix) -> ImportanceMatrix:
    if matrix.prior:
        raise BenchError(
            f"{path}: has a prior of {matrix.prior:g} rows, which would be counted with its data; merge matrices without it, and give "
            "--prior-weight for the merged one"
        )
    if matrix.knows_rows:
        return matrix
    entries = {n: Entry(e.sums * CHUNK_TOKENS, e.counts * CHUNK_TOKENS) for n, e in matrix.entries.items()}
    return replace(matrix, entries=entries)


def _added(a: Entry, b: Entry) -> Entry:
    """Entries of one tensor; one of them may have a single count for all of its matrices."""
    if len(a.counts) < len(b.counts):
        a, b = b, a
    many = len(a.counts)
    return a.plus(b.sums.reshape(a.sums.shape).astype(np.float64), np.resize(b.counts, many).astype(np.float64))


def _check_alike(first_path: Path, first: ImportanceMatrix, path: Path, matrix: ImportanceMatrix) -> None:
    shared = first.entries.keys() & matrix.entries.keys()
    wrong = next((n for n in sorted(shared) if first.entries[n].sums.size != matrix.entries[n].sums.size), None)
    if wrong is not None:
        raise BenchError(
            f"{path}: {wrong} has {matrix.entries[wrong].sums.size:,} columns here and {first.entries[wrong].sums.size:,} in {first_path}; "
            "it belongs to another model, merge matrices of one model"
        )
    if layers(matrix.entries) != layers(first.entries):
        raise BenchError(
            f"{path}: is of {len(layers(matrix.entries))} layers and {first_path} of {len(layers(first.entries))}; it belongs to another model, "
            "merge matrices of one model"
        )
    alone = matrix.entries.keys() ^ first.entries.keys()
    if stranger := next((n for n in sorted(alone) if "_exps." not in n), None):
        here, there = (path, first_path) if stranger in matrix.entries else (first_path, path)
        raise BenchError(
            f"{here}: has {stranger}, which {there} has not; it belongs to another model, merge matrices of one model"
        )


def layers(names: Iterable[str]) -> set[int]:
    """Numbers of the layers that tensors belong to."""
    return {int(found[1]) for name in names if (found := _LAYER.match(name))}
