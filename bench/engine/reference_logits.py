"""The reference's logits of one window in a file of the cache, which other files are compared with: checked as they are read."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError


class DamagedLogitsError(BenchError):
    """The reference's logits are not as they were written; they are to be made again."""


@dataclass(frozen=True)
class ReferenceLogits:
    """The reference's logits for the scored tokens of one window, in a file: float32 as computed, row by row, and after the last
    row a CRC-32 of each.

    Read by blocks and never mapped, so that they do not count as memory of the process that compares with them.
    """

    path: Path
    vocabulary: int

    @staticmethod
    def n_bytes(tokens: int, vocabulary: int) -> int:
        return 4 * tokens * (vocabulary + 1)

    def write(self, logits: NDArray[np.float32]) -> None:
        """logits: (tokens, vocabulary), contiguous. Raises BenchError where they cannot be written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        try:
            with partial.open("wb") as f:
                f.write(logits.data.cast("B"))
                f.write(_sums(logits).tobytes())
            partial.replace(self.path)
        except OSError as e:
            partial.unlink(missing_ok=True)
            raise BenchError(
                f"{self.path}: cannot be written ({e.strerror}); free some space or choose another directory with --cache"
            ) from e

    def read(self, rows: slice) -> NDArray[np.float32]:
        """Logits of some tokens, (tokens, vocabulary). Raises DamagedLogitsError for those that are not as they were written."""
        count, row = rows.stop - rows.start, 4 * self.vocabulary
        try:
            tokens = self.path.stat().st_size // (row + 4)
            found = np.fromfile(self.path, np.float32, count * self.vocabulary, offset=rows.start * row)
            sums = np.fromfile(self.path, np.uint32, count, offset=tokens * row + 4 * rows.start)
        except OSError as e:
            raise DamagedLogitsError(
                f"{self.path}: the logits of the reference cannot be read ({e.strerror}); run this again"
            ) from e
        if found.size == count * self.vocabulary and sums.size == count:
            found = found.reshape(-1, self.vocabulary)
            if (_sums(found) == sums).all():
                return found
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
    """CRC-32 of each row."""
    return np.array([zlib.crc32(row.data) for row in logits], np.uint32)
