"""The timed work of a file, round by round: the steps of its windows, and the tokens that it generates.

A window is decoded in steps of one ubatch from an empty context, which gives the same logits as one decode of all its
tokens. Each step is a round; its logits are scored and dropped afterwards. Beside other files the process gives way every few
hundredths of a second, within a step too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.core.energy import Counter
from bench.core.errors import MeasurementError
from bench.core.machine import Activity, peak_memory
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.scoring import Divergence, Further, TokenScores, score
from bench.engine.settings import Cache
from bench.engine.steps import steps_of
from bench.execute.content import Site
from bench.execute.job import Share
from bench.execute.siblings import Turns
from bench.measures.windows.jobs import MeasureJob
from bench.measures.windows.pieces import Pieces
from bench.texts.stream import TokenStream


def turns_of(job: MeasureJob) -> Iterator[str]:
    """What a file takes turns for, in order, where it is measured beside others: to load, and for each window to decode and to
    score each step, and to generate."""
    yield "load"
    for _ in job.windows:
        for step in steps_of(job.settings):
            yield "decode"
            if step.has_logits:
                yield "score"
    if job.settings.generate:
        yield from ("generate" for _ in job.windows)


@dataclass
class ScoredWindow:
    """A window, as far as its steps have been scored. text: what each scored token spells; joules: see ActivityMeter; seconds: of scoring."""

    tokens: list[tuple[TokenScores, Divergence | None]] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    activity: Activity = field(default_factory=lambda: Activity(wall=0, own=0, others=0))
    still: float = 0.0
    joules: float = 0.0
    seconds: float = 0.0
    pieces: list[float] = field(default_factory=list)
    peak_memory: int = 0

    def together(self) -> tuple[TokenScores, Divergence | None]:
        """The scores of all steps; without a comparison where one of them has none."""
        scores, apart = [s for s, _ in self.tokens], [d for _, d in self.tokens if d is not None]
        whole = TokenScores(np.concatenate([s.nll for s in scores]), np.concatenate([s.top_is_correct for s in scores]))
        if len(apart) < len(scores):
            return whole, None
        return whole, Divergence(
            np.concatenate([d.kl for d in apart]),
            np.concatenate([d.p_change for d in apart]),
            np.concatenate([d.same_top for d in apart]),
            np.concatenate([d.reference_correct for d in apart]),
            _joined([d.further for d in apart if d.further is not None]),
        )


def _joined(steps: Sequence[Further]) -> Further | None:
    if not steps:
        return None
    reverse_kl, overlap, confidence = (
        np.concatenate([getattr(s, name) for s in steps]) for name in ("reverse_kl", "overlap", "confidence")
    )
    return Further(reverse_kl, overlap, confidence)


class Windows:
    """Prompt processing: a round for each step of each window, scored after it was timed. It makes the context that it decodes in."""

    name = "window"

    def __init__(
        self,
        model: Model,
        stream: TokenStream,
        job: MeasureJob,
        site: Site,
        turns: Turns,
        progress: Share,
        counter: Counter | None,
    ) -> None:
        self._stream, self._job, self._site, self._turns, self._progress = stream, job, site, turns, progress
        self.steps, self.found = steps_of(job.settings), list[ScoredWindow]()
        self._at, self._rows, self._opened = 0, 0, ExitStack()
        self._pieces = Pieces(turns, job.settings.threads, counter)
        s = job.settings
        self.context = Context(
            model,
            n_ctx=s.window,
            n_batch=s.batch,
            n_ubatch=s.ubatch,
            threads=s.threads,
            callback=self._pieces.callback if job.timed else None,
            cache=Cache(flash=job.flash),
        )

    @property
    def rounds(self) -> int:
        return len(self._job.windows) * len(self.steps)

    def setup(self) -> None:
        length = self._job.settings.window
        self._number, at = divmod(self._at, len(self.steps))
        self._step = step = self.steps[at]
        self._opened.enter_context(self._turns.turn())
        if at == 0:
            self.context.clear()
            self.found.append(ScoredWindow())
            self._rows = 0
        # what only fills a window up is decoded where that is timed: so a window takes as long as any other
        self._is_idle = not self._job.timed and step.first >= self._stream.used(self._job.windows[self._number], length)
        with_bos = self._job.settings.with_bos
        window = self._stream.window(self._job.windows[self._number], length, with_bos=with_bos)
        tokens = window[step.first : step.last]
        self.context.prepare(tokens, step.scored - step.first)
        self._pieces.begin()

    def target(self) -> None:
        if not self._is_idle:
            self.context.decode()

    def teardown(self) -> None:
        found, step = self.found[-1], self._step
        found.pieces += self._pieces.end()
        found.activity += self._pieces.meter.stop()
        found.still = max(found.still, self._pieces.meter.still)
        found.joules += self._pieces.meter.joules
        if self.context.n_past != step.last and not self._is_idle:
            raise MeasurementError(
                f"only {self.context.n_past} of the first {step.last} tokens of the window were processed"
            )
        self._opened.close()
        if step.has_logits:
            with self._turns.turn() as is_led:
                self._score(found, is_led)
        self._at += 1
        self._progress(self._at / self.rounds)

    def _score(self, found: ScoredWindow, is_led: bool) -> None:
        job, step, length = self._job, self._step, self._job.settings.window
        if self._is_idle:
            return
        started = time.perf_counter()
        logits, first = self.context.logits(), self._rows
        # the logits of token i are for token i + 1, so those of the last one have nothing to predict
        begin = job.windows[self._number] * length + step.scored + 1
        targets = np.arange(begin, begin + len(logits) - (step.last == length))
        chosen = self._stream.only_scored(targets)
        # rows of the logits, which are not copied: a step's are a hundred megabytes and more
        rows = None if len(chosen) == len(targets) else chosen - begin
        logits = logits[: len(targets)]
        self._rows += len(chosen)
        vocabulary = logits.shape[1]
        if job.write_logits:
            ReferenceLogits(self._site.path(job.write_logits), vocabulary).append(first, logits, rows)
        reference = None
        if job.reference_logits and is_led:
            reference = ReferenceLogits(self._site.path(job.reference_logits), vocabulary)
        tokens = self._stream.tokens[chosen]
        found.tokens.append(
            score(
                logits, tokens, threads=job.settings.threads, reference=reference, first=first, further=True, rows=rows
            )
        )
        found.text += [self.context.model.piece(int(t)) for t in tokens]
        found.seconds += time.perf_counter() - started
        found.peak_memory = peak_memory()


class Generation:
    """Token generation: tokens one by one from an empty context, a round each, between which the process gives way.

    It has a context of its own, just large enough, as llama-bench has it. joules: of each time, see ActivityMeter.
    """

    name = "generation"

    def __init__(
        self,
        model: Model,
        tokens: NDArray[np.int32],
        times: int,
        threads: int,
        turns: Turns,
        counter: Counter | None,
    ) -> None:
        self._model, self._tokens, self._times, self._threads, self._turns = model, tokens, times, threads, turns
        self._at, self._open = 0, ExitStack()
        self._pieces = Pieces(turns, threads, counter)
        self.joules = list[float]()

    @property
    def rounds(self) -> int:
        return self._times * len(self._tokens)

    def setup(self) -> None:
        i = self._at % len(self._tokens)
        if i == 0:
            self._open.enter_context(self._turns.turn())
            self._begin()
        else:
            self._pieces.cut()
        self._context.prepare(self._tokens[i : i + 1], 0)

    def _begin(self) -> None:
        n = len(self._tokens)
        self._context = self._open.enter_context(
            Context(self._model, n_ctx=n, n_batch=n, n_ubatch=n, threads=self._threads)
        )
        self._context.prepare(self._tokens[:1], 0)
        self._context.decode()  # so that its memory is there
        self._context.clear()
        self._pieces.begin()

    def target(self) -> None:
        self._context.decode()

    def teardown(self) -> None:
        self._at += 1
        done = (self._at - 1) % len(self._tokens) + 1
        if self._context.n_past != done:
            raise MeasurementError(f"only {self._context.n_past} of {done} generated tokens were processed")
        if done == len(self._tokens):
            self._pieces.end()
            self._pieces.meter.stop()
            self.joules.append(self._pieces.meter.joules)
            self._open.close()
