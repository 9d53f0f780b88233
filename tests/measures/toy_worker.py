"""How the toy measure is worked out, in a worker process."""

from __future__ import annotations

from bench.engine.context import Context
from bench.engine.llama import Model
from bench.execute.content import Site
from bench.execute.job import Share
from tests.measures.toy import Likeliest, LikeliestJob


def likeliest(job: LikeliestJob, site: Site, progress: Share) -> Likeliest:
    with Model(site.path(job.model)) as model, Context(model, n_ctx=32, n_batch=32, n_ubatch=32, threads=1) as context:
        context.prepare(model.tokenize("to be"), 0)
        context.decode()
        return Likeliest(token=int(context.logits()[-1].argmax()))
