"""Scoring and completing problems, in a worker process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.greedy import greedy
from bench.engine.llama import Model
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.scoring import Divergence, TokenScores, score
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.problems.jobs import EncodedProblem, EncodedSet, ProblemResult, SolveJob, SolveResult
from bench.measures.problems.sets import Stop

_UBATCH = 512


def solve(job: SolveJob, site: Site, progress: Share) -> SolveResult:
    """Score the batch's problems. All their logits are compared at once, so the reference's stand in one file."""
    batch = EncodedSet.model_validate_json(site.path(job.problems).read_bytes()).batches[job.batch]
    n_ctx = max(max(len(p.tokens), (p.prompt or 0) + (p.stop.limit if p.stop else 0)) for p in batch)
    rows = sum(p.n_scored for p in batch)
    completions: list[str | None] = []
    path = site.path(job.model)
    with Model(path) as model:
        if max(max(p.tokens) for p in batch) >= model.n_vocab:
            raise BenchError(f"{path}: its vocabulary of {model.n_vocab} is smaller than the reference's")
        logits = np.empty((rows, model.n_vocab), np.float32)
        with Context(model, n_ctx=n_ctx, n_batch=n_ctx, n_ubatch=min(_UBATCH, n_ctx), threads=job.threads) as context:
            filled = 0
            for i, problem in enumerate(batch):
                filled = _score(context, problem, logits, filled)
                completions.append(_complete(context, problem))
                progress((i + 1) / len(batch))
        targets = np.concatenate([np.asarray(p.tokens[a:b], np.int32) for p in batch for a, b in p.scored])
        if job.write_logits:
            ReferenceLogits(site.path(job.write_logits), model.n_vocab).append(0, logits)
        reference = ReferenceLogits(site.path(job.reference_logits), model.n_vocab) if job.reference_logits else None
        scores, divergence = score(logits, targets, threads=job.threads, reference=reference)
    return SolveResult(results=tuple(_results(batch, scores, divergence, completions)))


def _score(context: Context, problem: EncodedProblem, logits: NDArray[np.float32], filled: int) -> int:
    """Put the logits of a problem's scored tokens into the rows from `filled` on; returns where the next go."""
    tokens = np.asarray(problem.tokens, np.int32)
    first = problem.scored[0][0] - 1
    context.clear()
    context.prepare(tokens, first)
    context.decode()
    computed = context.logits()
    for a, b in problem.scored:
        logits[filled : filled + b - a] = computed[a - 1 - first : b - 1 - first]
        filled += b - a
    return filled


def _complete(context: Context, problem: EncodedProblem) -> str | None:
    """What the model writes after the problem's prompt, always the likeliest token, up to where it or an editor stops."""
    if problem.prompt is None or problem.stop is None:
        return None
    stop = Stop(problem.stop.single_line, problem.stop.next_line, problem.stop.limit, problem.stop.lines)
    tokens = np.asarray(problem.tokens, np.int32)
    # the last token of the prompt once more, for its logits; where the memory cannot be cut, all of it
    start = problem.prompt - 1
    if not context.forget_after(start):
        context.clear()
        start = 0
    context.prepare(tokens[start : problem.prompt], problem.prompt - 1 - start)
    context.decode()
    written, ended = b"", None
    for token in greedy(context, stop.limit):
        written += context.model.piece(token)
        if (ended := stop.cut(written.decode("utf-8", "replace"))) is not None:
            break
    else:
        ended = written.decode("utf-8", "replace")
    return stop.without_rest(ended, problem.expected or "")


def _results(
    batch: tuple[EncodedProblem, ...],
    scores: TokenScores,
    divergence: Divergence | None,
    completions: list[str | None],
) -> list[ProblemResult]:
    results, start = [], 0
    for problem, completion in zip(batch, completions, strict=True):
        own = slice(start, start + problem.n_scored)
        start = own.stop
        results.append(
            ProblemResult(
                name=problem.name,
                group=problem.group,
                tokens=problem.n_scored,
                nll=float(scores.nll[own].sum()),
                correct=int(scores.top_is_correct[own].sum()),
                kl=float(divergence.kl[own].sum()) if divergence else None,
                same_top=int(divergence.same_top[own].sum()) if divergence else None,
                completion=completion,
                expected=problem.expected,
            )
        )
    return results
