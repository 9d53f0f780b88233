"""From logits to token scores: negative log-likelihood (NLL), and the distance of a distribution from the reference's.

Everything is computed in one pass over blocks of a few rows, in as many threads as the model runs with; numpy's
vectorized float32 exponential releases the interpreter's lock. Sums over the vocabulary and all that follows are float64.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.engine.reference_logits import ReferenceLogits

#: Rows of logits taken at a time: a block of a 128k vocabulary is 2 MiB, which stays in a core's cache.
_ROWS = 4


@dataclass(frozen=True)
class TokenScores:
    """Scores of the scored tokens of a window, one entry a token.

    nll: float64, nats. top_is_correct: whether the most likely token is the one that follows in the text.
    """

    nll: NDArray[np.float64]
    top_is_correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Divergence:
    """The same tokens against the reference. further: only where it is asked for.

    kl: float64, nats, KL(reference || this) = sum over the vocabulary of p_ref (ln p_ref - ln p). p_change: float64,
    probability of the correct token minus the reference's. same_top: whether both find the same token most likely.
    reference_correct: whether the reference's most likely token is the correct one.
    """

    kl: NDArray[np.float64]
    p_change: NDArray[np.float64]
    same_top: NDArray[np.bool_]
    reference_correct: NDArray[np.bool_]
    further: Further | None = None


@dataclass(frozen=True)
class Further:
    """More of how the same distributions differ, one entry a token, float64.

    reverse_kl: nats, KL(this || reference). overlap: sum over the vocabulary of min(p, p_ref), which is 1 minus the total variation, and the
    probability that a token which this model drafts is kept in speculative sampling by the reference (Leviathan, Kalman and Matias, Fast
    inference from transformers via speculative decoding, 2023, corollary 3.6). confidence: the reference's largest probability.
    """

    reverse_kl: NDArray[np.float64]
    overlap: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> Further:
        return cls(np.empty(n), np.empty(n), np.empty(n))


@dataclass(frozen=True)
class _Softmax:
    """Rows of logits with what a softmax needs. exps: exp(logits - largest); log_sum: ln sum exp(logits), float64."""

    logits: NDArray[np.float32]
    exps: NDArray[np.float32]
    sums: NDArray[np.float64]
    log_sum: NDArray[np.float64]

    @classmethod
    def of(cls, logits: NDArray[np.float32]) -> _Softmax:
        largest = logits.max(axis=1)
        if not (np.isfinite(largest).all() and np.isfinite(logits.min(axis=1)).all()):
            raise MeasurementError(
                "the logits hold NaN or Inf, so there is no perplexity to report; the quantization or the model is broken"
            )
        exps = logits - largest[:, None]
        np.exp(exps, out=exps)
        sums = np.add.reduce(exps, axis=1, dtype=np.float64)
        return cls(logits, exps, sums, np.log(sums) + largest)


def score(
    logits: NDArray[np.float32],
    targets: NDArray[np.int32],
    *,
    threads: int,
    reference: ReferenceLogits | None = None,
    first: int = 0,
    further: bool = False,
    rows: NDArray[np.int64] | None = None,
) -> tuple[TokenScores, Divergence | None]:
    """Score target tokens, and compare with the reference's logits for the same tokens where they are given.

    logits: (tokens, vocabulary) float32, not copied; targets: (tokens,); first: the reference's row for the first of them;
    further: whether to compute the distances of `Further` too; rows: (tokens,), the row of the logits for each target, where those are not all
    of them in order. The exponentials are float32 relative to a row's
    largest logit, so that values agree with float64 throughout to 1e-6. With z the logits, Z the log of their summed
    exponentials and p_ref the reference's probabilities, KL = sum p_ref (z_ref - z) - Z_ref + Z.
    Raises MeasurementError when a logit is NaN or infinite.
    """
    n = len(targets)
    nll, correct = np.empty(n), np.empty(n, np.bool_)
    more = Further.empty(n) if further and reference is not None else None
    kl, p_change, same_top, reference_correct = np.empty(n), np.empty(n), np.empty(n, np.bool_), np.empty(n, np.bool_)

    def score_rows(start: int) -> None:
        block = slice(start, min(start + _ROWS, n))
        this, target = _Softmax.of(logits[block if rows is None else rows[block]]), targets[block]
        picked = np.arange(len(target)), target
        top = this.logits.argmax(axis=1)
        nll[block] = this.log_sum - this.logits[picked]
        correct[block] = top == target
        if reference is None:
            return
        ref = _Softmax.of(reference.read(slice(first + block.start, first + block.stop)))
        ref_top = ref.logits.argmax(axis=1)
        differences = ref.logits - this.logits
        if more is not None:
            p, q = (s.exps / s.sums.astype(np.float32)[:, None] for s in (ref, this))
            more.overlap[block] = np.add.reduce(np.minimum(p, q, out=p), axis=1, dtype=np.float64)
            q *= differences
            more.reverse_kl[block] = ref.log_sum - this.log_sum - np.add.reduce(q, axis=1, dtype=np.float64)
            more.confidence[block] = 1 / ref.sums  # the exponential of the largest logit is 1
        # the reference's exponentials are not needed again: weigh the differences of logits in place
        ref.exps[:] *= differences
        weighted = np.add.reduce(ref.exps, axis=1, dtype=np.float64) / ref.sums
        kl[block] = weighted - ref.log_sum + this.log_sum
        p_change[block] = np.exp(-nll[block]) - np.exp(ref.logits[picked] - ref.log_sum)
        same_top[block] = top == ref_top
        reference_correct[block] = ref_top == target

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(score_rows, range(0, n, _ROWS)))
    scores = TokenScores(nll, correct)
    if reference is None:
        return scores, None
    return scores, Divergence(kl, p_change, same_top, reference_correct, more)
