"""Timing of prompts and generation as llama-bench defines them, in a worker process.

A prompt is decoded in batches, with logits for its last token only; generation decodes token by token, with logits for each. From an empty
context each test has one that is just large enough, and a few tokens are decoded in it before anything is timed; behind tokens that the context
holds already, tests share one (walk.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.core.energy import Counter, energy_counter
from bench.core.errors import MeasurementError
from bench.core.machine import peak_memory
from bench.engine.context import Context
from bench.engine.llama import Model, library
from bench.engine.settings import Cache
from bench.execute.content import Site
from bench.execute.job import Share
from bench.execute.siblings import FORKS, Alone, Sibling, Turns, go_round
from bench.measures.windows.jobs import Gauge
from bench.measures.windows.pieces import Pieces
from bench.measures.windows.throughput_jobs import RoundJob, RoundResult, RoundsResult, Sample, Test, Timed
from bench.measures.windows.timing import time_rounds
from bench.measures.windows.walk import Walk
from bench.texts.stream import TokenStream


class _Subject:
    """One round of a test, in which the process gives way to others. tokens: (test.n_tokens,); opened: gives the context, which holds as many
    tokens as the test is deep; pieces: of what is timed."""

    rounds = 1

    def __init__(
        self,
        test: Test,
        tokens: NDArray[np.int32],
        step: int,
        turns: Turns,
        pieces: Pieces,
        opened: Callable[[ExitStack], Context],
    ) -> None:
        self.test, self._turns, self._pieces, self._context_of = test, turns, pieces, opened
        self._opened = ExitStack()
        self._batches = [tokens[i : i + step] for i in range(0, len(tokens), step)]

    @property
    def name(self) -> str:
        return self.test.name

    def setup(self) -> None:
        self._opened.enter_context(self._turns.turn())
        self._context = self._context_of(self._opened)
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
        done, wanted = self._context.n_past, self.test.depth + self.test.n_tokens
        self.peak_memory = peak_memory()
        self._opened.close()
        if done != wanted:
            raise MeasurementError(f"only {done} of {wanted} tokens of {self.name} were processed")


def _from_empty(
    test: Test, model: Model, job: RoundJob, tokens: NDArray[np.int32], turns: Turns, counter: Counter | None
) -> _Subject:
    """A test from an empty context of its own, just large enough, as llama-bench has it."""
    pieces = Pieces(turns, job.threads, counter)

    def opened(stack: ExitStack) -> Context:
        context = stack.enter_context(
            Context(
                model,
                n_ctx=test.n_tokens,
                n_batch=job.batch,
                n_ubatch=min(job.ubatch, job.batch),
                threads=job.threads,
                # what is called for each operation would slow single tokens down, and a device
                callback=pieces.callback if test.n_prompt and job.offload is None else None,
            )
        )
        context.warm_up(tokens)
        return context

    return _Subject(test, tokens, job.batch if test.n_prompt else 1, turns, pieces, opened)


def _walking(
    job: RoundJob, model: Model, stream: TokenStream, turns: Turns, counter: Counter | None, stack: ExitStack
) -> list[_Subject]:
    """Tests at several depths or with several caches: those of one kind of cache share a context that deepens."""
    n = max(t.depth + t.n_tokens for t in job.tests)
    tokens = _tokens(stream, n)
    walks: dict[Cache, tuple[Walk, Pieces]] = {}
    for cache in dict.fromkeys(t.cache for t in job.tests):
        pieces = Pieces(turns, job.threads, counter)
        callback = pieces.callback if job.offload is None else None
        walk = Walk(model, cache, tokens, batch=job.batch, ubatch=job.ubatch, threads=job.threads, callback=callback)
        walks[cache] = stack.enter_context(walk), pieces

    def subject(test: Test) -> _Subject:
        walk, pieces = walks[test.cache]
        own = tokens[test.depth : test.depth + test.n_tokens]
        step = job.batch if test.n_prompt else 1
        return _Subject(test, own, step, turns, pieces, lambda _: walk.at(test.depth, pausing=bool(test.n_prompt)))

    return [subject(test) for test in job.tests]


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
            model = opened.enter_context(Model(path, offload=job.offload))
            load_seconds = time.perf_counter() - started
            if counter is not None and (idle := counter.idle_watts()) > 0:
                gauge = Gauge(source=counter.source, memory=counter.memory, idle_watts=idle)
        if any(t.is_deep for t in job.tests):
            subjects = _walking(job, model, stream, turns, counter, opened)
        else:
            subjects = [
                _from_empty(test, model, job, _tokens(stream, test.n_tokens), turns, counter) for test in job.tests
            ]
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
