"""Sums of squared activations, of a part of a calibration text or of all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.quantize.imatrix import Entry

#: Chunks of a part. Another number may change the last bit of a matrix of a mixture of experts.
PART_CHUNKS = 4

_SUM, _COUNT = "sum:", "count:"


def parts_of(chunks: int) -> int:
    """In how many parts so many chunks are summed."""
    return -(-chunks // PART_CHUNKS)


@dataclass
class Sums:
    """sums: float64 (matrices, columns) of squared activations, by weight tensor; counts: float64 (counts,) rows summed."""

    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def of(
        self, weight: str, matrices: int, columns: int, counts: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums and counts of a weight, to add to; from zero where it is new."""
        if weight not in self.sums:
            self.sums[weight], self.counts[weight] = np.zeros((matrices, columns)), np.zeros(counts)
        return self.sums[weight], self.counts[weight]

    def add(self, later: Self) -> None:
        """Add the sums of the part that comes next."""
        for name, found in later.sums.items():
            total, seen = self.of(name, found.shape[0], found.shape[1], len(later.counts[name]))
            total += found
            seen += later.counts[name]

    def entries(self, model: str) -> dict[str, Entry]:
        """As an importance matrix has them. Raises BenchError for sums that are not finite; model: that it names."""
        for name, total in self.sums.items():
            if not np.isfinite(total).all():
                raise BenchError(
                    f"{model}: activations entering {name} are not finite; the model is broken or overflows in this precision"
                )
        return {
            name: Entry(
                total.reshape(len(self.counts[name]), -1).astype(np.float32), self.counts[name].astype(np.float32)
            )
            for name, total in sorted(self.sums.items())
        }

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {_SUM + n: a for n, a in self.sums.items()}
        arrays |= {_COUNT + n: a for n, a in self.counts.items()}
        with path.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def loaded(cls, data: bytes) -> Self:
        """What `save` wrote."""
        with np.load(BytesIO(data), allow_pickle=False) as kept:
            names = [n.removeprefix(_SUM) for n in kept.files if n.startswith(_SUM)]
            return cls({n: kept[_SUM + n] for n in names}, {n: kept[_COUNT + n] for n in names})
