"""A text as tokens, cut into windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenStream:
    """Tokens of a prompt set. kinds: index into kind_names of every token; bos: put at the start of a window, or None; written: which tokens
    a model wrote that is scored on nothing else, None for a text (texts/traces.py)."""

    tokens: NDArray[np.int32]
    kinds: NDArray[np.int64]
    kind_names: tuple[str, ...]
    bos: int | None
    written: NDArray[np.bool_] | None = None

    def save(self, path: Path | IO[bytes]) -> None:
        bos = -1 if self.bos is None else self.bos
        arrays: dict[str, NDArray[Any]] = {
            "tokens": self.tokens,
            "kinds": self.kinds,
            "kind_names": np.array(self.kind_names),
            "bos": np.array(bos),
        }
        if self.written is not None:
            arrays["written"] = self.written
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> TokenStream:
        with np.load(path) as data:
            bos = int(data["bos"])
            return cls(
                data["tokens"],
                data["kinds"],
                tuple(str(n) for n in data["kind_names"]),
                None if bos < 0 else bos,
                data.get("written"),
            )

    @property
    def sha256(self) -> str:
        """Of what models are given: equal for two whose tokenizers make the same of a text."""
        digest = hashlib.sha256(self.tokens.tobytes())
        digest.update(f"{self.bos}".encode())
        if self.written is not None:
            digest.update(self.written.tobytes())
        return digest.hexdigest()

    def window(self, index: int, length: int, *, with_bos: bool = True) -> NDArray[np.int32]:
        """The input tokens of a window. with_bos: with BOS in place of the first, where the vocabulary asks for it."""
        tokens = self.tokens[index * length : (index + 1) * length].copy()
        if self.bos is not None and with_bos:
            tokens[0] = self.bos
        return tokens

    def scored(self, window: int, length: int, first: int) -> NDArray[np.int64]:
        """Indices in the stream of the tokens of a window that are scored: those behind the token `first` of it; where a model wrote some of
        them, these only."""
        return self.only_scored(np.arange(window * length + first + 1, (window + 1) * length))

    def only_scored(self, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some tokens, by index, that are scored."""
        return targets if self.written is None else targets[self.written[targets]]

    def used(self, window: int, length: int) -> int:
        """Tokens of a window up to the last one that is scored: what follows, in windows of what a model wrote, only fills them up."""
        if self.written is None:
            return length
        return int(np.flatnonzero(self.written[window * length : (window + 1) * length])[-1]) + 1
