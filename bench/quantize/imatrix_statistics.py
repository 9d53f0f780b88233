"""What an importance matrix holds: statistics of its tensors as `llama-imatrix --show-statistics` prints them, and where data are few.

A mean square from n rows of normally distributed activations has a relative standard error of sqrt(2 / n): 10 % for 200 rows, and more
for activations with heavy tails. An expert with fewer rows has too few.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.gguf_files.info import ModelInfo
from bench.quantize.imatrix import Entry, ImportanceMatrix

#: Fewer rows than this give a mean square with an error above 10 %.
FEW_ROWS = 200
#: Mean squares up to this count as inactive, as llama-imatrix has it.
_INACTIVE = 1e-5
_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+?)(\.weight)?$")


@dataclass(frozen=True)
class TensorStatistics:
    """Of the mean squares of a tensor's input columns, over all experts that saw data. layer: None outside of layers.

    total, least, most, mean, deviation: of the mean squares; active: share of columns above 1e-5; columns: how many; entropy: in bits,
    of the mean squares as shares of their total; z_density: share of columns more than a standard deviation above the mean (ZD score,
    Layer-Wise Quantization, arXiv 2406.17415); cosine: with the same tensor of the layer before, None where there is none.
    matrices: experts, 1 for other tensors; unseen, few: of them, those without data, and those with 1 to 199 rows; rows: that the
    matrix with fewest saw; None where a file does not know rows.
    """

    name: str
    layer: int | None
    kind: str
    total: float
    least: float
    most: float
    mean: float
    deviation: float
    active: float
    columns: int
    entropy: float
    z_density: float
    cosine: float | None
    matrices: int
    unseen: int | None
    few: int | None
    rows: int | None

    @property
    def entropy_share(self) -> float:
        """Entropy as a share of the largest that so many columns can have."""
        return self.entropy / math.log2(self.columns) if self.columns > 1 else 0.0


@dataclass(frozen=True)
class LayerStatistics:
    """Means over the tensors of a layer, by their columns; cosine: None for the first layer."""

    layer: int
    total: float
    z_density: float
    cosine: float | None


@dataclass(frozen=True)
class Thin:
    """A tensor with too few data. name: of the weight; matrices: experts; unseen: without any; few: with 1 to 199 rows; rows: the fewest."""

    name: str
    matrices: int
    unseen: int
    few: int
    rows: int


@dataclass(frozen=True)
class Coverage:
    """How much of a model saw data. rows: share of the rows of its layers' weight matrices, None without a model; experts, seen: matrices of
    experts, and those that saw any data; None where a file does not know. thin: tensors with too few; lacking: weights of the model
    without an entry."""

    tensors: int
    rows: float | None
    experts: int | None
    seen: int | None
    thin: tuple[Thin, ...]
    lacking: tuple[str, ...]


def statistics(matrix: ImportanceMatrix) -> list[TensorStatistics]:
    """By layer, then by name; tensors that saw no data at all are left out, since they have none."""
    found = [_of_tensor(matrix, name, entry) for name, entry in matrix.entries.items() if (entry.counts > 0).any()]
    return sorted(found, key=lambda s: (s.layer is None, s.layer or 0, s.name))


def by_layer(tensors: Iterable[TensorStatistics]) -> list[LayerStatistics]:
    layers: dict[int, list[TensorStatistics]] = {}
    for t in tensors:
        if t.layer is not None:
            layers.setdefault(t.layer, []).append(t)
    return [_of_layer(layer, found) for layer, found in sorted(layers.items())]


def coverage(matrix: ImportanceMatrix, model: ModelInfo | None) -> Coverage:
    """model: whose weights are counted, None for those that the matrix names."""
    experts = seen = 0
    thin = []
    for name, entry in matrix.entries.items():
        rows = _rows(matrix, entry)
        if rows is None:
            continue
        if len(rows) > 1:
            experts, seen = experts + len(rows), seen + int((rows > 0).sum())
        if (rows < FEW_ROWS).any():
            few = int(((rows > 0) & (rows < FEW_ROWS)).sum())
            thin.append(Thin(name, len(rows), int((rows == 0).sum()), few, int(rows.min())))
    known = matrix.knows_rows
    weights = [t for t in model.tensors if t.name.startswith("blk.") and len(t.shape) > 1] if model else []
    with_data = total = 0.0
    for t in weights:
        n = math.prod(t.shape[1:])
        found = matrix.entries.get(t.name)
        share = 0.0 if found is None else float((found.counts > 0).mean())
        with_data, total = with_data + share * n, total + n
    return Coverage(
        tensors=len(matrix.entries),
        rows=with_data / total if total else None,
        experts=experts if known else None,
        seen=seen if known else None,
        thin=tuple(thin),
        lacking=tuple(t.name for t in weights if t.name not in matrix.entries),
    )


def _rows(matrix: ImportanceMatrix, entry: Entry) -> NDArray[np.int64] | None:
    """Of every expert, without those of a prior; None where they are not known."""
    if not matrix.knows_rows:
        return None
    found: NDArray[np.int64] = np.rint(entry.counts.astype(np.float64) - matrix.prior).astype(np.int64).clip(0)
    return found


def _of_tensor(matrix: ImportanceMatrix, name: str, entry: Entry) -> TensorStatistics:
    seen = entry.counts > 0
    means = (entry.sums[seen].astype(np.float64) / entry.counts[seen, None]).ravel()
    total, mean, deviation = float(means.sum()), float(means.mean()), float(means.std())
    shares = means[means > 0] / total if total else means[:0]
    rows = _rows(matrix, entry)
    place = _BLOCK.match(name)
    return TensorStatistics(
        name=name,
        layer=int(place[1]) if place else None,
        kind=place[2] if place else name.removesuffix(".weight"),
        total=total,
        least=float(means.min()),
        most=float(means.max()),
        mean=mean,
        deviation=deviation,
        active=float((means > _INACTIVE).mean()),
        columns=means.size,
        entropy=float(-(shares * np.log2(shares)).sum()),
        z_density=float(((means - mean) / deviation > 1).mean()) if deviation else 0.0,
        cosine=_cosine(matrix, name, entry, place),
        matrices=len(entry.counts),
        unseen=None if rows is None else int((rows == 0).sum()),
        few=None if rows is None else int(((rows > 0) & (rows < FEW_ROWS)).sum()),
        rows=None if rows is None else int(rows.min()),
    )


def _cosine(matrix: ImportanceMatrix, name: str, entry: Entry, place: re.Match[str] | None) -> float | None:
    """Of the sums with those of the same tensor one layer before; None where there is none of this size, or one is all zeros."""
    if place is None:
        return None
    before = matrix.entries.get(f"{name[: place.start(1)]}{int(place[1]) - 1}{name[place.end(1) :]}")
    if before is None or before.sums.size != entry.sums.size:
        return None
    a, b = (e.sums.astype(np.float64).ravel() for e in (entry, before))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else None


def _of_layer(layer: int, tensors: list[TensorStatistics]) -> LayerStatistics:
    n = sum(t.columns for t in tensors)
    with_cosine = [t for t in tensors if t.cosine is not None]
    return LayerStatistics(
        layer,
        sum(t.columns * t.total for t in tensors) / n,
        sum(t.columns * t.z_density for t in tensors) / n,
        sum(t.columns * (t.cosine or 0.0) for t in with_cosine) / n if with_cosine else None,
    )
