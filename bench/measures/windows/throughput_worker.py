"""Timing of prompts and generation as llama-bench defines them, in a worker process.

A prompt is decoded in batches from an empty context, with logits for its last token only; generation decodes token by token from
an empty context, with logits for each. Each test has a context that is just large enough, and a few tokens are decoded in it
before anything is timed.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.core.energy import Counter, energy_counter
from bench.core.errors import MeasurementError
from bench.core.machine import peak_memory
from bench.engine.llama import Context, Model, library
from bench.execute.content import Site
from bench.execute.job import Share
from bench.execute.siblings import FORKS, Alone, Sibling, Turns, go_round
from bench.measures.windows.jobs import Gauge
from bench.measures.windows.pieces import Pieces
from bench.measures.windows.throughput_jobs import RoundJob, RoundResult, RoundsResult, Sample, Test, Timed
from bench.measures.windows.timing import time_rounds
from bench.texts.stream import TokenStream

#: Tokens decoded before anything is timed: enough to touch every weight and to start the threads.
_WARM_UP_TOKENS = 32


class _Subject:
    """One round of a test, in which the process gives way to others. tokens: (test.n_tokens,)."""

    rounds = 1

    def __init__(
        self,
        test: Test,
        model: Model,
        job: RoundJob,
        tokens: NDArray[np.int32],
        turns: Turns,
        counter: Counter | None,
    ) -> None:
        self.test, self._model, self._job, self._turns = test, model, job, turns
        self._pieces, self._opened = Pieces(turns, job.threads, counter), ExitStack()
        step = job.batch if test.n_prompt else 1
        self._batches = [tokens[i : i + step] for i in range(0, len(tokens), step)]
        self._warm_up = tokens[:_WARM_UP_TOKENS]

    @property
    def name(self) -> str:
        return self.test.name

    def setup(self) -> None:
        n, batch = self.test.n_tokens, self._job.batch
        self._opened.enter_context(self._turns.turn())
        self._context = self._opened.enter_context(
            Context(
                self._model,
                n_ctx=n,
                n_batch=batch,
                n_ubatch=min(self._job.ubatch, batch),
                threads=self._job.threads,
                # what is called for each operation would slow single tokens down
                callback=self._pieces.callback if self.test.n_prompt else None,
            )
        )
        self._prepare(self._warm_up)
        self._context.decode()
        self._context.clear()
        self._prepare(self._batches[0])
        self.started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._pieces.begin()

    def _prepare(self, tokens: NDArray[np.int32]) -> None:
        self._context.prepare(tokens, len(tokens) - 1)

    def target(self) -> None:
        self._context.decode()
        for batch in self._batches[1:]:
            self._pieces.cut()
            self._prepare(batch)
            self._context.decode()

    def teardown(self) -> None:
        self.pieces = tuple(self._pieces.end())
        self.activity, self.joules = self._pieces.meter.stop(), self._pieces.meter.joules
        done = self._context.n_past
        self.peak_memory = peak_memory()
        self._opened.close()
        if done != self.test.n_tokens:
            raise MeasurementError(f"only {done} of {self.test.n_tokens} tokens of {self.name} were processed")


def round_job(job: RoundJob, site: Site, progress: Share) -> RoundsResult:
    """Time every test of every file once. Raises what goes wrong with any of them."""
    if len(job.files) == 1 or not FORKS:
        return RoundsResult(rounds=tuple(_round(job, file, site, Alone()) for file in job.files))
    with ExitStack() as stack:
        siblings = [Sibling(partial(_round, job, file, site), str(site.path(file.model))) for file in job.files]
        for sibling in siblings:
            stack.callback(sibling.stop)
        for i in range(1 + len(job.tests)):  # to load, and for each test
            go_round(siblings[::-1] if job.backwards else siblings)
            progress((i + 1) / (1 + len(job.tests)))
        for sibling in siblings:
            sibling.finish()
            if sibling.error is not None:
                raise sibling.error
        return RoundsResult(rounds=tuple(sibling.answer for sibling in siblings))


def _round(job: RoundJob, file: Timed, site: Site, turns: Turns) -> RoundResult:
    """Time every test of a file once, with the engine of this very process."""
    stream, path = TokenStream.load(site.path(file.stream)), site.path(file.model)
    with ExitStack() as opened:
        counter, gauge = opened.enter_context(energy_counter()), None
        with turns.turn():
            started = time.perf_counter()
            model = opened.enter_context(Model(path))
            load_seconds = time.perf_counter() - started
            if counter is not None and (idle := counter.idle_watts()) > 0:
                gauge = Gauge(source=counter.source, memory=counter.memory, idle_watts=idle)
        subjects = [_Subject(test, model, job, _tokens(stream, test.n_tokens), turns, counter) for test in job.tests]
        seconds = time_rounds([*subjects])
        return RoundResult(
            library=library(),
            description=model.description,
            n_bytes=model.n_bytes,
            n_weights=model.n_weights,
            load_seconds=load_seconds,
            peak_memory_bytes=max(s.peak_memory for s in subjects),
            samples=tuple(
                Sample(
                    test=s.test,
                    started=s.started,
                    seconds=seconds[s.name][0],
                    activity=s.activity,
                    pieces=s.pieces,
                    joules=s.joules if gauge is not None and math.isfinite(s.joules) else None,
                )
                for s in subjects
            ),
            gauge=gauge,
        )


def _tokens(stream: TokenStream, n: int) -> NDArray[np.int32]:
    """The first tokens of the text, from its start again where it is shorter."""
    tokens = np.resize(stream.tokens, n)
    if stream.bos is not None:
        tokens[0] = stream.bos
    return tokens
