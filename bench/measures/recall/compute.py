"""Recall, in a process of its own: the NLL of a passage, and of the same passage once more, behind so many other tokens.

The passage and what lies between are a piece of the scored text, in its order; then the passage comes again. A model that looks back far
enough predicts it nearly for certain. The first token of a passage does not count, since nothing tells that it begins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.scoring import score
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.recall.jobs import Recalled, RecallJob, RecallResult
from bench.texts.stream import TokenStream

#: Tokens that are computed at once.
_STEP = 512


def recall(job: RecallJob, site: Site, progress: Share) -> RecallResult:
    """Raises BenchError for a text that is too short, and where llama.cpp refuses the cache."""
    stream = TokenStream.load(site.path(job.stream))
    longest = max(job.distances)
    if (job.items - 1) * job.stride + job.passage + longest > len(stream.tokens):
        raise BenchError(f"the text is too short to recall passages from {longest} tokens back")
    n = longest + 2 * job.passage
    found = []
    with (
        Model(site.path(job.model)) as model,
        Context(model, n_ctx=n, n_batch=_STEP, n_ubatch=_STEP, threads=job.threads, cache=job.cache) as context,
    ):
        for item in range(job.items):
            begin = item * job.stride
            passage = stream.tokens[begin : begin + job.passage]
            for distance in job.distances:
                between = stream.tokens[begin + job.passage : begin + job.passage + distance]
                context.clear()
                first = _nll(context, passage, job.threads)
                _fill(context, between)
                second = _nll(context, passage, job.threads)
                found.append(Recalled(item=item, distance=distance, tokens=job.passage - 1, first=first, second=second))
                progress(len(found) / (job.items * len(job.distances)))
    return RecallResult(recalled=tuple(found))


def _nll(context: Context, passage: NDArray[np.int32], threads: int) -> float:
    """Sum over the passage's tokens but the first."""
    _decode(context, passage, 0)
    scores, _ = score(context.logits()[:-1], passage[1:], threads=threads)
    return float(scores.nll.sum())


def _fill(context: Context, tokens: NDArray[np.int32]) -> None:
    for start in range(0, len(tokens), _STEP):
        part = tokens[start : start + _STEP]
        _decode(context, part, len(part))


def _decode(context: Context, tokens: NDArray[np.int32], logits_from: int) -> None:
    past = context.n_past
    context.prepare(tokens, logits_from)
    context.decode()
    if context.n_past != past + len(tokens):
        raise MeasurementError(f"only {context.n_past} of {past + len(tokens)} tokens were processed")
