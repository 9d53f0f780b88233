"""Timing of prompts and generation as llama-bench defines them, in a worker process.

A prompt is decoded in batches from an empty context, with logits for its last token only; generation decodes token by token from
an empty context, with logits for each. Each test has a context that is just large enough, and a few tokens are decoded in it
before anything is timed.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import MeasurementError
from bench.core.machine import ActivityMeter, peak_memory
from bench.engine.llama import Context, Model, library
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.windows.throughput_jobs import RoundJob, RoundResult, Sample, Test
from bench.measures.windows.timing import time_rounds
from bench.texts.stream import TokenStream

#: Tokens decoded before anything is timed: enough to touch every weight and to start the threads.
_WARM_UP_TOKENS = 32


class _Subject:
    """One round of a test. tokens: (test.n_tokens,)."""

    rounds = 1

    def __init__(self, test: Test, model: Model, job: RoundJob, tokens: NDArray[np.int32]) -> None:
        self.test, self._model, self._job = test, model, job
        step = job.batch if test.n_prompt else 1
        self._batches = [tokens[i : i + step] for i in range(0, len(tokens), step)]
        self._warm_up = tokens[:_WARM_UP_TOKENS]
        self._meter = ActivityMeter()

    @property
    def name(self) -> str:
        return self.test.name

    def setup(self) -> None:
        n, batch = self.test.n_tokens, self._job.batch
        self._context = Context(
            self._model, n_ctx=n, n_batch=batch, n_ubatch=min(self._job.ubatch, batch), threads=self._job.threads
        )
        self._prepare(self._warm_up)
        self._context.decode()
        self._context.clear()
        self._prepare(self._batches[0])
        self.started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._meter.start()

    def _prepare(self, tokens: NDArray[np.int32]) -> None:
        self._context.prepare(tokens, len(tokens) - 1)

    def target(self) -> None:
        self._context.decode()
        for batch in self._batches[1:]:
            self._prepare(batch)
            self._context.decode()

    def teardown(self) -> None:
        self.activity = self._meter.stop()
        done = self._context.n_past
        self.peak_memory = peak_memory()
        self._context.__exit__(None, None, None)
        if done != self.test.n_tokens:
            raise MeasurementError(f"only {done} of {self.test.n_tokens} tokens of {self.name} were processed")


def round_job(job: RoundJob, site: Site, progress: Share) -> RoundResult:
    """Time every test of the job once, with the engine of this very process."""
    stream, path = TokenStream.load(site.path(job.stream)), site.path(job.model)
    started = time.perf_counter()
    with Model(path) as model:
        load_seconds = time.perf_counter() - started
        subjects = [_Subject(test, model, job, _tokens(stream, test.n_tokens)) for test in job.tests]
        seconds = time_rounds([*subjects])
        return RoundResult(
            library=library(),
            description=model.description,
            n_bytes=model.n_bytes,
            n_weights=model.n_weights,
            load_seconds=load_seconds,
            peak_memory_bytes=max(s.peak_memory for s in subjects),
            samples=tuple(
                Sample(test=s.test, started=s.started, seconds=seconds[s.name][0], activity=s.activity)
                for s in subjects
            ),
        )


def _tokens(stream: TokenStream, n: int) -> NDArray[np.int32]:
    """The first tokens of the text, from its start again where it is shorter."""
    tokens = np.resize(stream.tokens, n)
    if stream.bos is not None:
        tokens[0] = stream.bos
    return tokens
