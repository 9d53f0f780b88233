"""Whether a device computes what the CPU does, and how fast it is."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.settings import Offload
from bench.texts import prompts

#: Tokens that a device and the CPU both compute, and characters of the text that are more than these.
_TOKENS, _CHARACTERS = 128, 4000
#: Tokens that the device's pace is measured with, as many as are computed at once; where the first ones took longer than so many
#: seconds, these tell it: a driver that computes on the CPU takes minutes, and one that compiles shaders at first does not.
_AT_ONCE, _SLOW = 512, 30.0


def compared(path: Path, offload: Offload, threads: int) -> tuple[float | None, float]:
    """Mean KL divergence of a device's probabilities from the CPU's for some tokens, nats, None where they are no numbers; and tokens that the device computes
    in a second."""
    own, _ = _log_probabilities(path, None, threads)
    there, pace = _log_probabilities(path, offload, threads)
    if not (np.isfinite(own).all() and np.isfinite(there).all()):
        return None, pace
    return float((np.exp(own) * (own - there)).sum(axis=1).mean()), pace


def _log_probabilities(path: Path, offload: Offload | None, threads: int) -> tuple[NDArray[np.float64], float]:
    """Of the first tokens of the evaluation text; and the pace, measured on a device alone."""
    with Model(path, offload=offload) as model:
        tokens = model.tokenize(prompts.fixed_set(prompts.EVALUATION).text[:_CHARACTERS])[:_TOKENS]
        most = _AT_ONCE if offload else len(tokens)
        with Context(model, n_ctx=most, n_batch=most, n_ubatch=most, threads=threads) as context:
            took = _decoded(context, tokens, 0)
            logits = context.logits().astype(np.float64)
            pace = len(tokens) / took
            if offload is not None and took < _SLOW:
                many = np.resize(tokens, most)
                pace = most / min(_decoded(context, many, most - 1) for _ in range(2))
    logits -= logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return found, pace


def _decoded(context: Context, tokens: NDArray[np.int32], first: int) -> float:
    """Seconds that tokens took; the logits from `first` on are there then."""
    context.clear()
    context.prepare(tokens, first)
    begin = time.perf_counter()
    context.decode()
    context.logits()  # a device goes on computing until its results are asked for
    return time.perf_counter() - begin
