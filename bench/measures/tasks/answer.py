"""Answering encoded requests, in a worker process."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path

import numpy as np

from bench.core.errors import BenchError
from bench.engine.llama import Model
from bench.engine.scoring import TokenScores
from bench.engine.tree import Scored, Tree
from bench.engine.writing import Prompt, write
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.tasks.jobs import (
    AnswerJob,
    AnswerResult,
    EncodedBatch,
    EncodedSequence,
    EncodedWriting,
    Probability,
    Written,
)


def answer(job: AnswerJob, site: Site, progress: Share) -> AnswerResult:
    """Answer a batch. Raises BenchError for a model whose vocabulary is another."""
    batch = _batch(site.path(job.tasks), job.batch)
    path = site.path(job.model)
    with Model(path) as model:
        if max(_tokens(batch)) >= model.n_vocab:
            raise BenchError(f"{path}: its vocabulary of {model.n_vocab} is smaller than the reference's")
        if batch.packs:
            return AnswerResult(probabilities=tuple(_probabilities(model, batch.packs, job.threads, progress)))
        return AnswerResult(written=tuple(_written(model, batch.writings, job.threads, progress)))


def _batch(path: Path, number: int) -> EncodedBatch:
    """A batch alone: all of a large task take gigabytes."""
    with path.open("rb") as lines:
        return EncodedBatch.model_validate_json(next(islice(lines, number, None)))


def _tokens(batch: EncodedBatch) -> list[int]:
    return [
        *(t for pack in batch.packs for s in pack for t in s.tokens),
        *(t for w in batch.writings for t in w.tokens),
    ]


def _probabilities(
    model: Model, packs: tuple[tuple[EncodedSequence, ...], ...], threads: int, progress: Share
) -> list[Probability]:
    found: dict[int, list[TokenScores]] = defaultdict(list)
    longest = max(len(s.tokens) for pack in packs for s in pack)
    with Tree(model, longest=longest, threads=threads) as tree:
        for n, pack in enumerate(packs):
            scores = tree.score([Scored(s.tokens, s.first) for s in pack])
            for sequence, of in zip(pack, scores, strict=True):
                found[sequence.request].append(of)
            progress((n + 1) / len(packs))
    return [
        Probability(
            request=request,
            logarithm=-float(np.concatenate([s.nll for s in of]).sum()),
            tokens=sum(len(s.nll) for s in of),
            greedy=all(s.top_is_correct.all() for s in of),
        )
        for request, of in sorted(found.items())
    ]


def _written(model: Model, writings: tuple[EncodedWriting, ...], threads: int, progress: Share) -> list[Written]:
    prompts = [Prompt(w.tokens, w.endings, w.limit, w.temperature, f"{w.seed}/{w.request}", w.ends) for w in writings]
    return [
        Written(request=w.request, text=t.text, tokens=t.tokens, end=t.end)
        for w, t in zip(writings, write(model, prompts, threads=threads, progress=progress), strict=True)
    ]
