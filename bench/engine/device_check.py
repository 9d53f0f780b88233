"""Whether a device computes what the CPU does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.settings import Offload
from bench.texts import prompts

#: Tokens that a device and the CPU both compute, and characters of the text that are more than these.
_TOKENS, _CHARACTERS = 128, 4000


def apart(path: Path, offload: Offload, threads: int) -> float | None:
    """Mean KL divergence of a device's probabilities from the CPU's for some tokens, nats; None where they are no numbers."""
    own, there = (_log_probabilities(path, o, threads) for o in (None, offload))
    if not (np.isfinite(own).all() and np.isfinite(there).all()):
        return None
    return float((np.exp(own) * (own - there)).sum(axis=1).mean())


def _log_probabilities(path: Path, offload: Offload | None, threads: int) -> NDArray[np.float64]:
    with Model(path, offload=offload) as model:
        tokens = model.tokenize(prompts.fixed_set(prompts.EVALUATION).text[:_CHARACTERS])[:_TOKENS]
        n = len(tokens)
        with Context(model, n_ctx=n, n_batch=n, n_ubatch=n, threads=threads) as context:
            context.prepare(tokens, 0)
            context.decode()
            logits = context.logits().astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return found
