"""Scoring a window with some KV cache, in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.engine.context import Context
from bench.engine.llama import Model, listen
from bench.engine.reference_logits import DamagedLogitsError, ReferenceLogits
from bench.engine.scoring import Divergence, score
from bench.engine.steps import logits_by_step
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.caches.jobs import CacheJob, CacheResult, Distance, Kept, Sums
from bench.texts.stream import TokenStream

#: The scored tokens of a window are told of in so many parts.
PARTS = 8

_SIZE = re.compile(r"size = .*\( *(\d+) cells.*K \(\w+\): +([\d.]+) MiB, V \(\w+\): +([\d.]+) MiB")
_ROTATES = re.compile(r"attn_rot_([kv]) = (\d)")


def score_with_cache(job: CacheJob, site: Site, progress: Share) -> CacheResult:
    """Score the job's window. What llama.cpp refuses, or has no numbers for, is an answer.

    Raises BenchError for a file that cannot be loaded.
    """
    stream, length = TokenStream.load(site.path(job.stream)), job.settings.window
    with Model(site.path(job.model)) as model:
        said: list[str] = []
        try:
            with listen(said.append):
                context = _context(model, job)
        except BenchError as e:
            return CacheResult(refused=str(e).partition(": ")[2])
        with context:
            try:
                scored = _scored(context, job, stream, site, progress)
            except DamagedLogitsError:
                raise
            except MeasurementError as e:
                return CacheResult(refused=str(e), kept=_kept(said))
    kinds = stream.kinds[stream.scored(job.window, length, job.settings.first_scored)]
    of_kinds = {stream.kind_names[i]: np.flatnonzero(kinds == i) for i in np.unique(kinds)}
    parts = np.array_split(np.arange(len(kinds)), PARTS) if stream.written is None else []
    return CacheResult(
        by_kind={kind: scored.sums(of) for kind, of in of_kinds.items()},
        by_position=tuple(scored.sums(of) for of in parts if len(of)),
        kept=_kept(said),
    )


def _context(model: Model, job: CacheJob) -> Context:
    s = job.settings
    return Context(
        model, n_ctx=s.window, n_batch=s.batch, n_ubatch=s.ubatch, threads=s.threads, cache=job.cache
    )  # fmt: skip


class _Scored:
    """Scores of tokens, and their distances from the same file with another cache and from the reference."""

    def __init__(
        self, nll: Sequence[NDArray[np.float64]], own: Sequence[Divergence], reference: Sequence[Divergence]
    ) -> None:
        self._nll = np.concatenate(nll)
        self._own, self._reference = _Distances.of(own), _Distances.of(reference)

    def sums(self, of: NDArray[np.int64]) -> Sums:
        """Sums over some of them, by index."""
        own, reference = (d.sums(of) if d is not None else None for d in (self._own, self._reference))
        return Sums(tokens=len(of), nll=float(self._nll[of].sum()), own=own, reference=reference)


class _Distances:
    """Distances of tokens, step by step joined."""

    def __init__(self, found: Sequence[Divergence]) -> None:
        self._kl = np.concatenate([d.kl for d in found])
        self._p_change = np.concatenate([d.p_change for d in found])
        self._same_top = np.concatenate([d.same_top for d in found])

    @classmethod
    def of(cls, found: Sequence[Divergence]) -> _Distances | None:
        return cls(found) if found else None

    def sums(self, of: NDArray[np.int64]) -> Distance:
        return Distance(
            kl=float(self._kl[of].sum()),
            p_change_squares=float((self._p_change[of] ** 2).sum()),
            same_top=int(self._same_top[of].sum()),
        )


def _scored(context: Context, job: CacheJob, stream: TokenStream, site: Site, progress: Share) -> _Scored:
    s, vocabulary = job.settings, context.model.n_vocab
    written, own, reference = (
        ReferenceLogits(site.path(content), vocabulary) if content else None
        for content in (job.write_logits, job.own_logits, job.reference_logits)
    )
    nll, from_own, from_reference = list[NDArray[np.float64]](), list[Divergence](), list[Divergence]()
    first = 0
    for reached, computed in logits_by_step(context, stream.window(job.window, s.window, with_bos=s.with_bos), s):
        begin = job.window * s.window + s.first_scored + 1 + reached
        chosen = stream.only_scored(np.arange(begin, begin + len(computed)))
        logits = computed if len(chosen) == len(computed) else computed[chosen - begin]
        if written is not None:
            written.append(first, logits)
        targets = stream.tokens[chosen]
        # those of the reference itself with another cache are compared once
        for other, found in ((own, from_own), (reference, from_reference)):
            if other is not None:
                scores, divergence = score(logits, targets, threads=s.threads, reference=other, first=first)
                assert divergence is not None
                found.append(divergence)
        if own is None and reference is None:
            scores, _ = score(logits, targets, threads=s.threads)
        nll.append(scores.nll)
        first += len(logits)
        progress((reached + len(computed)) / s.logits)
    return _Scored(nll, from_own, from_reference)


def _kept(said: Sequence[str]) -> Kept | None:
    """What llama.cpp's log says of the cache; None where it says nothing. A model may have several, one for layers that look back a limited
    number of tokens."""
    sizes = [m for line in said if (m := _SIZE.search(line))]
    rotates = {(m[1], m[2]) for line in said if (m := _ROTATES.search(line))}
    if not sizes:
        return None
    k, v = (sum(round(float(m[i]) * 2**20) for m in sizes) for i in (2, 3))
    return Kept(
        cells=max(int(m[1]) for m in sizes),
        k_bytes=k,
        v_bytes=v,
        rotates_k=("k", "1") in rotates,
        rotates_v=("v", "1") in rotates,
    )
