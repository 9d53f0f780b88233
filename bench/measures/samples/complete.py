"""Completing texts, in a worker process."""

from __future__ import annotations

from bench.engine.context import Context
from bench.engine.greedy import greedy
from bench.engine.llama import Model
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.samples.jobs import Completion, SampleJob, SampleResult

#: Tokens that are computed at once.
_UBATCH = 512


def sample(job: SampleJob, site: Site, progress: Share) -> SampleResult:
    """Complete every prompt from an empty context."""
    completions = []
    with Model(site.path(job.model)) as model:
        prompts = [model.tokenize(p) for p in job.prompts]
        n_ctx = max(len(p) for p in prompts) + job.limit
        with Context(model, n_ctx=n_ctx, n_batch=n_ctx, n_ubatch=min(_UBATCH, n_ctx), threads=job.threads) as context:
            for i, prompt in enumerate(prompts):
                context.clear()
                context.prepare(prompt, len(prompt) - 1)
                context.decode()
                tokens = tuple(greedy(context, job.limit))
                text = b"".join(model.piece(t) for t in tokens).decode("utf-8", "replace")
                completions.append(Completion(tokens=tokens, text=text, ended=len(tokens) < job.limit))
                progress((i + 1) / len(prompts))
    return SampleResult(completions=tuple(completions))
