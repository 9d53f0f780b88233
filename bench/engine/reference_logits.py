"""The reference's logits of one window in a file of the cache. Other files are compared with them. They are checked when they are read."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError


class DamagedLogitsError(BenchError):
    """The reference's logits are not as they were written; they are to be made again."""


@dataclass(frozen=True)
class ReferenceLogits:
    """The reference's logits for the scored tokens of one window, in a file: row by row float32 as computed, each with its CRC-32
    behind it.

    A row can be read as soon as it is written. They are read by blocks and never mapped, so that they do not count as memory of the process
    that compares with them.
    """

    path: Path
    vocabulary: int

    @staticmethod
    def n_bytes(tokens: int, vocabulary: int) -> int:
        return 4 * tokens * (vocabulary + 1)

    def append(self, first: int, logits: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
        """Write the rows from `first` on; 0 begins the file. logits: (tokens, vocabulary), contiguous; rows: which of them, where not all. Raises
        BenchError where they cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab" if first else "wb") as f:
                for row in logits if rows is None else map(logits.__getitem__, rows):
                    f.write(row.data.cast("B"))
                    f.write(_sum(row).tobytes())
        except OSError as e:
            with suppress(OSError):
                self.path.unlink()
            raise BenchError(
                f"{self.path}: cannot be written ({e.strerror}); free some space or choose another directory with --cache"
            ) from e

    def read(self, rows: slice) -> NDArray[np.float32]:
        """Logits of some tokens, (tokens, vocabulary). Raises DamagedLogitsError for those that are not as they were written."""
        count, numbers = rows.stop - rows.start, self.vocabulary + 1
        try:
            found = np.fromfile(self.path, np.float32, count * numbers, offset=4 * rows.start * numbers)
        except OSError as e:
            raise DamagedLogitsError(
                f"{self.path}: the logits of the reference cannot be read ({e.strerror}); run this again"
            ) from e
        if found.size == count * numbers:
            by_row = found.reshape(count, numbers)
            logits = by_row[:, :-1]
            if (_sums(logits) == by_row[:, -1].view(np.uint32)).all():
                return logits
        raise DamagedLogitsError(f"{self.path}: the logits of the reference are not as they were kept; run this again")

    def intact(self, tokens: int | None = None) -> bool:
        """Whether the file is there and as it was written. tokens: how many rows it is to have, where that is known."""
        try:
            size = self.path.stat().st_size
            found, rest = divmod(size, self.n_bytes(1, self.vocabulary))
            if rest or not found or tokens not in (None, found):
                return False
            for start in range(0, found, 64):
                self.read(slice(start, min(start + 64, found)))
        except (OSError, DamagedLogitsError):
            return False
        return True


def _sums(logits: NDArray[np.float32]) -> NDArray[np.uint32]:
    """CRC-32 of each row; a row is contiguous."""
    return np.array([_sum(row) for row in logits], np.uint32)


def _sum(row: NDArray[np.float32]) -> np.uint32:
    return np.uint32(zlib.crc32(row.data))
