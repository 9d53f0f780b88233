"""Scoring and timing one model file on windows of the prompt stream, in a worker process.

A window is timed as it is scored: one `llama_decode` of all its tokens from an empty context, logits computed for the
second half. Generation is timed apart, token by token from an empty context.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, MeasurementError
from bench.core.machine import Activity, ActivityMeter, peak_memory
from bench.engine.llama import Context, Model, library
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.scoring import Divergence, TokenScores, score
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.windows.jobs import (
    REFERENCE_TOP_IS_CORRECT,
    SAME_TOP,
    TOP_IS_CORRECT,
    KindSums,
    MeasureJob,
    MeasureResult,
    TokenData,
    WindowResult,
    pack,
)
from bench.measures.windows.timed import Timed
from bench.texts.stream import TokenStream

#: Tokens decoded before anything is timed: enough to touch every weight and to start the threads.
_WARM_UP_TOKENS = 32


@dataclass
class _Windows:
    """Prompt processing: one round for each window, scored after it was timed."""

    context: Context
    stream: TokenStream
    job: MeasureJob
    site: Site
    progress: Share
    name: str = "window"
    tokens: list[TokenData] = field(default_factory=list)
    sums: list[dict[str, KindSums]] = field(default_factory=list)
    activity: list[Activity] = field(default_factory=list)
    peak_memory: list[int] = field(default_factory=list)
    scoring_seconds: list[float] = field(default_factory=list)
    _meter: ActivityMeter = field(default_factory=ActivityMeter)

    @property
    def rounds(self) -> int:
        return len(self.job.windows)

    def _start(self) -> int:
        """Where the current window begins in the stream."""
        return self.job.windows[len(self.sums)] * self.job.settings.window

    def setup(self) -> None:
        length = self.job.settings.window
        self.context.clear()
        self.context.prepare(self.stream.window(self._start() // length, length), length // 2)
        self._meter.start()

    def target(self) -> None:
        self.context.decode()

    def teardown(self) -> None:
        self.activity.append(self._meter.stop())
        length, job = self.job.settings.window, self.job
        if self.context.n_past != length:
            raise MeasurementError(f"only {self.context.n_past} of {length} tokens of the window were processed")
        # The logits of token i are for token i + 1, so those of the last token have nothing to predict.
        started = time.perf_counter()
        logits = self.context.logits()[:-1]
        scored = slice(self._start() + length // 2 + 1, self._start() + length)
        vocabulary = logits.shape[1]
        if job.write_logits:
            ReferenceLogits(self.site.path(job.write_logits), vocabulary).write(logits)
        reference = ReferenceLogits(self.site.path(job.reference_logits), vocabulary) if job.reference_logits else None
        targets, kinds = self.stream.tokens[scored], self.stream.kinds[scored]
        scores, divergence = score(logits, targets, threads=job.settings.threads, reference=reference)
        self.scoring_seconds.append(time.perf_counter() - started)
        self.tokens.append(_token_data(scores, divergence, kinds, self.stream.kind_names))
        self.sums.append(_sums_by_kind(scores.nll, kinds, self.stream.kind_names))
        self.peak_memory.append(peak_memory())
        self.progress(len(self.sums) / self.rounds)


def _token_data(
    scores: TokenScores, divergence: Divergence | None, kinds: NDArray[np.int64], kind_names: tuple[str, ...]
) -> TokenData:
    flags = scores.top_is_correct * TOP_IS_CORRECT
    if divergence is not None:
        flags = flags + divergence.reference_correct * REFERENCE_TOP_IS_CORRECT + divergence.same_top * SAME_TOP
    return TokenData(
        kind_names=kind_names,
        kinds=pack(kinds, np.uint8),
        nll=pack(scores.nll, np.float32),
        flags=pack(flags, np.uint8),
        kl=pack(divergence.kl, np.float32) if divergence else None,
        p_change=pack(divergence.p_change, np.float32) if divergence else None,
    )


def _sums_by_kind(
    nll: NDArray[np.float64], kinds: NDArray[np.int64], kind_names: tuple[str, ...]
) -> dict[str, KindSums]:
    """Sums for every kind of prompt that occurs, in float64. kinds: (tokens,) indices into kind_names."""
    by_kind = {kind_names[index]: nll[kinds == index] for index in np.unique(kinds)}
    return {k: KindSums(tokens=len(v), nll=float(v.sum()), squares=float((v**2).sum())) for k, v in by_kind.items()}


@dataclass
class _Generation:
    """Token generation: in each round some tokens one by one, from an empty context."""

    context: Context
    tokens: NDArray[np.int32]
    rounds: int
    name: str = "generation"

    def setup(self) -> None:
        self.context.clear()

    def target(self) -> None:
        for i in range(len(self.tokens)):
            self.context.prepare(self.tokens[i : i + 1], 0)
            self.context.decode()

    def teardown(self) -> None:
        if self.context.n_past != len(self.tokens):
            raise MeasurementError(f"only {self.context.n_past} of {len(self.tokens)} generated tokens were processed")


def time_rounds(subjects: list[Timed]) -> dict[str, list[float]]:
    """Seconds of every round by the subject's name, from pytest-benchmark."""
    from bench.measures.windows import timing as speed  # a third of a second to import

    return speed.time_rounds(subjects)


def _run_rounds(subjects: list[Timed]) -> dict[str, list[float]]:
    """The same rounds for those who want scores only, with plain seconds, which no table shows and `ppl --json` tells."""
    seconds: dict[str, list[float]] = {s.name: [] for s in subjects}
    for subject in subjects:
        for _ in range(subject.rounds):
            subject.setup()
            started = time.perf_counter()
            subject.target()
            seconds[subject.name].append(time.perf_counter() - started)
            subject.teardown()
    return seconds


def measure(job: MeasureJob, site: Site, progress: Share) -> list[WindowResult]:
    """Score and time the job's windows, in order. Raises BenchError for a stream too short or a context too small."""
    settings = job.settings
    stream, path = TokenStream.load(site.path(job.stream)), site.path(job.model)
    if (max(job.windows) + 1) * settings.window > len(stream.tokens):
        raise BenchError(f"window {max(job.windows)} is beyond the text's {len(stream.tokens)} tokens")
    started = time.perf_counter()
    with Model(path) as model:
        if stream.tokens.max() >= model.n_vocab:
            raise BenchError(
                f"{path}: its vocabulary of {model.n_vocab} is smaller than the reference's; they cannot be compared"
            )
        with Context(
            model, n_ctx=settings.window, n_batch=settings.batch, n_ubatch=settings.ubatch, threads=settings.threads
        ) as context:
            load_seconds = time.perf_counter() - started
            if job.timed:
                warm_up = stream.tokens[: min(_WARM_UP_TOKENS, settings.window)]
                context.prepare(warm_up, len(warm_up) - 1)
                context.decode()
            windows = _Windows(context, stream, job, site, progress)
            generation = _Generation(context, stream.tokens[: settings.generate], len(job.windows))
            subjects: list[Timed] = [windows, generation] if settings.generate else [windows]
            seconds = time_rounds(subjects) if job.timed else _run_rounds(subjects)
    return [
        WindowResult(
            window=window,
            by_kind=windows.sums[i],
            tokens=windows.tokens[i],
            seconds=seconds["window"][i],
            activity=windows.activity[i],
            generate_seconds=seconds["generation"][i] if settings.generate else None,
            load_seconds=load_seconds,
            peak_memory_bytes=windows.peak_memory[i],
            scoring_seconds=windows.scoring_seconds[i],
        )
        for i, window in enumerate(job.windows)
    ]


def measure_job(job: MeasureJob, site: Site, progress: Share) -> MeasureResult:
    """Score and time the job's windows, with the engine of this very process."""
    return MeasureResult(library=library(), windows=tuple(measure(job, site, progress)))
