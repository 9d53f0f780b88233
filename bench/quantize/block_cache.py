"""Blocks on disk: the data of one tensor in one type, quantized once for a model and an importance matrix.

Nothing here computes, so that a process that has not loaded the engine can look up blocks.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.files import partial_name
from bench.execute.content import Site
from bench.gguf_files.header import HeaderTensor

#: Where blocks lie in a site's cache.
DIRECTORY = "blocks"
#: What the cache of blocks may hold: the pairs of a dozen recipes of an 8B model.
DEFAULT_CACHE_BYTES = 32 * 10**9
_DIGEST = hashlib.sha256().digest_size
#: Part of folders' names: how blocks are kept. 2: the checksum covers where a block lies, so that no other can stand in for it.
_FORM = 2


@dataclass(frozen=True)
class Pair:
    """A tensor and the type that it is wanted in."""

    tensor: HeaderTensor
    kind: gguf.GGMLQuantizationType

    @property
    def n_bytes(self) -> int:
        n_weights = int(np.prod(self.tensor.shape, dtype=np.int64))
        block, n_bytes = gguf.GGML_QUANT_SIZES[self.kind]
        return n_weights // block * n_bytes


def cache_limit() -> int:
    """Bytes that the cache of blocks may hold: BENCH_BLOCK_CACHE_GB, or the default. Raises BenchError for no number."""
    stated = os.environ.get("BENCH_BLOCK_CACHE_GB", "")
    try:
        limit = float(stated) * 1e9 if stated else DEFAULT_CACHE_BYTES
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise BenchError(
            f"BENCH_BLOCK_CACHE_GB={stated}: is no number of gigabytes; set for instance 32, or 0 to keep none"
        )
    return int(limit)


class BlockCache:
    """Blocks on disk, each with its checksum; the least recently used go when there are more bytes than `limit`.

    origin: names all that blocks depend on: model, importance matrix and library. limit: None for `cache_limit()`.
    """

    @classmethod
    def of(cls, site: Site, origin: str) -> Self:
        """The cache of a site."""
        return cls(site.cache / DIRECTORY, origin)

    def __init__(self, directory: Path, origin: str, limit: int | None = None) -> None:
        self._root, self._directory = directory, directory / f"{origin}-{_FORM}"
        self._limit = cache_limit() if limit is None else limit
        #: Tensors whose blocks were damaged, and were thrown away.
        self.damaged: list[str] = []

    def _path(self, pair: Pair) -> Path:
        return self._directory / f"{pair.tensor.name}.{pair.kind.name}"

    def has(self, pair: Pair) -> bool:
        """Whether there are blocks; `load` looks whether they are as they were kept."""
        return self._path(pair).is_file()

    def _digest(self, pair: Pair, data: memoryview) -> bytes:
        digest = hashlib.sha256(f"{self._directory.name}/{self._path(pair).name}\0".encode())
        digest.update(data)
        return digest.digest()

    def load(self, pair: Pair) -> NDArray[np.uint8] | None:
        """The blocks, or None when they are not there or damaged."""
        path = self._path(pair)
        try:
            raw = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        if len(raw) != _DIGEST + pair.n_bytes or self._digest(pair, memoryview(raw)[_DIGEST:]) != raw[:_DIGEST]:
            self.damaged.append(pair.tensor.name)
            path.unlink(missing_ok=True)
            return None
        return np.frombuffer(raw, np.uint8, offset=_DIGEST)

    def store(self, pair: Pair, data: NDArray[np.uint8]) -> None:
        """Keep blocks. A disk that is full costs the keeping, not the file that they are for."""
        path = self._path(pair)
        partial = partial_name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as f:
                f.write(self._digest(pair, data.data))
                f.write(data.data)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()

    def trim(self) -> None:
        """Throw out what was used least recently, of all models, until the rest is within the limit."""
        found = []
        for path in self._root.glob("*/*"):
            with suppress(OSError):  # another process has renamed or removed it
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        excess = sum(size for _, size, _ in found) - self._limit
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
