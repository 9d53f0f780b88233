"""Logits to negative log-likelihoods (NLL), and sums of them by kind of prompt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import MeasurementError

#: Rows of logits taken at a time: a block of a 128k vocabulary is 2 MiB, which stays in a core's cache.
_ROWS = 4


@dataclass(frozen=True)
class NllSums:
    """Sums over scored tokens. nll in nats; squares: of the NLL, for the token-level standard error."""

    tokens: int
    nll: float
    squares: float


def token_nll(logits: NDArray[np.float32], targets: NDArray[np.int32], *, threads: int) -> NDArray[np.float64]:
    """NLL of every target token, in nats: log(sum(exp(logits))) - logits[target].

    logits: (tokens, vocabulary) float32, not copied; targets: (tokens,). The exponentials are float32 relative to the
    row's largest logit, their sum and everything after it float64; the error against float64 throughout is below 1e-6.
    Raises MeasurementError when a logit is NaN or infinite: such a model has no perplexity.
    """
    n = len(targets)
    nll = np.empty(n)

    def score(start: int) -> None:
        rows = slice(start, min(start + _ROWS, n))
        block = logits[rows]
        largest = block.max(axis=1)
        if not (np.isfinite(largest).all() and np.isfinite(block.min(axis=1)).all()):
            raise MeasurementError(
                "the logits hold NaN or Inf, so there is no perplexity to report; the quantization or the model is broken"
            )
        shifted = block - largest[:, None]
        np.exp(shifted, out=shifted)
        sums = np.add.reduce(shifted, axis=1, dtype=np.float64)
        correct = block[np.arange(len(block)), targets[rows]]
        nll[rows] = np.log(sums) + largest.astype(np.float64) - correct

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score, range(0, n, _ROWS)))
    return nll


def sums_by_kind(nll: NDArray[np.float64], kinds: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, NllSums]:
    """Sums for every kind of prompt that occurs. kinds: (tokens,) indices into names."""
    sums = {}
    for index in np.unique(kinds):
        of_kind = nll[kinds == index]
        sums[names[index]] = NllSums(len(of_kind), float(of_kind.sum()), float((of_kind**2).sum()))
    return sums
