"""A text as tokens, cut into windows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenStream:
    """Tokens of a prompt set. kinds: index into kind_names of every token; bos: put at the start of a window, or None."""

    tokens: NDArray[np.int32]
    kinds: NDArray[np.int64]
    kind_names: tuple[str, ...]
    bos: int | None

    def save(self, path: Path | IO[bytes]) -> None:
        bos = -1 if self.bos is None else self.bos
        np.savez(path, tokens=self.tokens, kinds=self.kinds, kind_names=np.array(self.kind_names), bos=bos)

    @classmethod
    def load(cls, path: Path) -> TokenStream:
        with np.load(path) as data:
            bos = int(data["bos"])
            return cls(
                data["tokens"], data["kinds"], tuple(str(n) for n in data["kind_names"]), None if bos < 0 else bos
            )

    @property
    def sha256(self) -> str:
        """Of what models are given: equal for two whose tokenizers make the same of a text."""
        digest = hashlib.sha256(self.tokens.tobytes())
        digest.update(f"{self.bos}".encode())
        return digest.hexdigest()

    def window(self, index: int, length: int, *, with_bos: bool = True) -> NDArray[np.int32]:
        """The input tokens of a window. with_bos: with BOS in place of the first, where the vocabulary asks for it."""
        tokens = self.tokens[index * length : (index + 1) * length].copy()
        if self.bos is not None and with_bos:
            tokens[0] = self.bos
        return tokens
