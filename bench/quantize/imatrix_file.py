"""The files that hold importance matrices: llama-imatrix's GGUF format, which is written and read, and its older binary one.

A file may come from anywhere, and llama.cpp's quantizer aborts on values that no calibration gives: such values are refused here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import gguf
import numpy as np

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.formats import in_one_line
from bench.gguf_files.header import ArrayLength, read_header, read_strings
from bench.gguf_files.info import ModelInfo
from bench.gguf_files.limits import check_tensor
from bench.quantize.imatrix import CHUNK_TOKENS, Entry, ImportanceMatrix, check_prior, layers, merged

_SUMS, _COUNTS = ".in_sum2", ".counts"
#: Rows of ones that were added (`ImportanceMatrix.with_prior`); a key of ours, which llama.cpp passes over.
_PRIOR = "dynamicgate.imatrix.prior_weight"
#: Mean squares of activations beyond this are none: those of models are below 10^12, and products of larger ones overflow in the
#: quantizer, which then aborts.
_MAX_MEAN = 1e15
#: Numbers of rows, of chunks and of tokens in one.
_MAX_COUNT = 2**40
_MAX_ENTRIES = 1_000_000
#: Names of calibration texts that are kept, and characters of one.
_MAX_DATASETS, _MAX_NAME = 100, 500


def check_fits(path: Path, model: ModelInfo) -> None:
    """Raise BenchError when a file is no importance matrix, or that of another model: by tensor names, widths and layers.

    Layers that predict further tokens (`nextn`) are never run over a text, so a matrix need not have them.
    """
    matrix = read(path)
    matrix.fitted(model, path)
    of_model = layers(t.name for t in model.tensors if len(t.shape) > 1)
    covered = layers(matrix.entries)
    spared = layers(t.name for t in model.tensors if ".nextn." in t.name)
    if not of_model - spared <= covered <= of_model:
        raise BenchError(
            f"{path}: is of {len(covered)} layers and {model.path.name} has {len(of_model)}; it belongs to another model, leave "
            "--imatrix out to compute one"
        )


def merge_to(paths: Sequence[Path], target: Path, *, prior: float = 0.0, force: bool = False) -> ImportanceMatrix:
    """Write the matrix of several texts together; returns it. prior: rows of ones to add to it; force: overwrite what is there.

    Raises BenchError for files that do not go together, and for a target that is there or is read from.
    """
    check_prior(prior)
    for one in paths:
        if target.exists() and one.exists() and target.samefile(one):
            raise BenchError(f"{target}: is what is read from; the file to write comes first, give another name for it")
    if target.exists() and not force:
        raise BenchError(f"{target}: is there already; give another name, or overwrite it with --force")
    found = [(path, read(path)) for path in paths]
    twice = next((b for i, b in enumerate(paths) if any(a.samefile(b) for a in paths[:i])), None)
    if twice is not None:
        raise BenchError(f"{twice}: is named twice, and its rows would count double; name it once")
    whole = merged(found)
    if prior:
        whole = whole.with_prior(prior, target)
    try:
        for name, entry in whole.entries.items():
            _check(name, entry)
    except ValueError as e:
        raise BenchError(
            f"{target}: would be no usable importance matrix ({e}); look at the files with imatrix show"
        ) from e
    write(whole, target)
    return whole


def write(matrix: ImportanceMatrix, path: Path) -> None:
    """Write the GGUF format of llama-imatrix."""
    writer = gguf.GGUFWriter(None, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", list(matrix.datasets))
    writer.add_uint32("imatrix.chunk_count", matrix.chunks)
    writer.add_uint32("imatrix.chunk_size", matrix.chunk_tokens)
    if matrix.prior:
        writer.add_float32(_PRIOR, matrix.prior)
    for name, entry in matrix.entries.items():
        writer.add_tensor(f"{name}{_SUMS}", entry.sums)
        writer.add_tensor(f"{name}{_COUNTS}", entry.counts.reshape(-1, 1))
    with complete_or_absent(path) as partial:
        writer.write_header_to_file(partial)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read(path: Path) -> ImportanceMatrix:
    """Read either format. Raises BenchError for a file that is neither, is damaged, or holds what is no mean of squares."""
    if not path.is_file():
        raise BenchError(f"{path}: no such importance matrix; leave --imatrix out to compute one")
    with path.open("rb") as f:
        is_gguf = f.read(4) == b"GGUF"
    try:
        matrix = _read_gguf(path) if is_gguf else _read_legacy(path)
        if not matrix.entries:
            raise BenchError(f"{path}: holds no importance data; leave --imatrix out to compute one")
        for name, entry in matrix.entries.items():
            _check(name, entry)
    except ValueError as e:
        raise BenchError(f"{path}: is no usable importance matrix ({e}); compute the importance matrix again") from e
    return matrix


def _check(name: str, entry: Entry) -> None:
    """Raise ValueError for values that no calibration gives."""
    check_tensor(name, entry.sums.shape[::-1], 1)
    sums, counts = entry.sums, entry.counts
    if not (np.isfinite(sums).all() and np.isfinite(counts).all()):
        raise ValueError(f"{name} holds values that are not finite")
    if sums.min() < 0:
        raise ValueError(f"{name} holds negative means of squares")
    if (wrong := counts[(counts != 0) & ~((counts >= 1) & (counts <= _MAX_COUNT))]).size:
        raise ValueError(f"{name} is of {wrong[0]:.3g} rows")
    if sums[counts == 0].any():
        raise ValueError(f"{name} holds sums of no rows")
    if (means := entry.means()).max() > _MAX_MEAN:
        raise ValueError(f"{name} holds a mean square of {means.max():.3g}")


def _read_gguf(path: Path) -> ImportanceMatrix:
    """Raises ValueError for a complete GGUF file whose tensors are no importance data."""
    header = read_header(path)
    data = {}
    for t in header.tensors:
        if t.name.endswith((_SUMS, _COUNTS)):
            if t.type != gguf.GGMLQuantizationType.F32:
                raise ValueError(f"{t.name} has the type {t.type.name}")
            data[t.name] = np.fromfile(path, "<f4", t.n_bytes // 4, offset=t.start).reshape(-1, t.shape[0])
    entries = {}
    for stem in dict.fromkeys(name.removesuffix(_SUMS).removesuffix(_COUNTS) for name in data):
        sums, counts = (data.get(stem + suffix, np.empty((0, 1), np.float32)) for suffix in (_SUMS, _COUNTS))
        if not len(sums) or counts.size not in (1, len(sums)):
            raise ValueError(f"{stem} has {len(sums)} rows of sums and {counts.size} counts")
        entries[stem] = Entry(sums, np.resize(counts, len(sums)))  # one count may stand for all
    datasets = header.metadata.get("imatrix.datasets", [])
    names = read_strings(path, "imatrix.datasets") if isinstance(datasets, ArrayLength) else []
    return ImportanceMatrix(
        entries,
        tuple(map(_dataset, names[:_MAX_DATASETS])),
        _count("imatrix.chunk_count", header.metadata.get("imatrix.chunk_count", 0)),
        _count("imatrix.chunk_size", header.metadata.get("imatrix.chunk_size", 0)) or CHUNK_TOKENS,
        _prior(header.metadata.get(_PRIOR, 0.0)),
    )


def _read_legacy(path: Path) -> ImportanceMatrix:
    """The binary format: entries of (name, calls, values), the values being means times calls."""
    with path.open("rb") as f:
        found = _Binary(f, path.stat().st_size)
        n_entries = found.count()
        if not 0 < n_entries < _MAX_ENTRIES:
            raise ValueError(f"it would hold {n_entries:,} tensors")
        entries: dict[str, Entry] = {}
        for _ in range(n_entries):
            name = found.take(found.count()).decode("utf-8", "replace")
            calls, values = found.count(), np.frombuffer(found.take(4 * found.count()), "<f4")
            check_tensor(name, values.shape, 1)
            if name in entries:
                raise ValueError(f"{name} comes twice")
            entries[name] = Entry(values.reshape(1, -1), np.array([max(calls, 1)], np.float32))
        chunks = found.count() if found.left else 0
        dataset = found.take(found.count()) if found.left else b""
    return ImportanceMatrix(entries, (_dataset(dataset),) if dataset else (), chunks, 0)


class _Binary:
    """Reads the binary format. left: bytes that have not been read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.left = file, size

    def take(self, n: int) -> bytes:
        """Raises ValueError where there are fewer."""
        if n > self.left:
            raise ValueError(f"{n:,} bytes should follow where {self.left:,} do")
        self.left -= n
        return self._file.read(n)

    def count(self) -> int:
        (n,) = struct.unpack("<i", self.take(4))
        if n < 0:
            raise ValueError(f"there are {n} of something")
        return int(n)


def _count(key: str, value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**32:
        raise ValueError(f"{key} is {value!r:.80}")
    return value


def _prior(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"{_PRIOR} is {value!r:.80}")
    return float(value)


def _dataset(name: bytes) -> str:
    return in_one_line(name.decode("utf-8", "replace"))[:_MAX_NAME]
