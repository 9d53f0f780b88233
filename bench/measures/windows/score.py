"""Scoring and timing one model file on windows of the prompt stream, in a process of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from bench.core.energy import energy_counter
from bench.core.errors import BenchError
from bench.engine.llama import Model, library
from bench.engine.scoring import Divergence, Further, TokenScores
from bench.execute.content import Site
from bench.execute.job import Share
from bench.execute.siblings import Alone, Turns, own_time
from bench.measures.windows.jobs import (
    REFERENCE_TOP_IS_CORRECT,
    SAME_TOP,
    SURETIES,
    TOP_IS_CORRECT,
    Energy,
    Gauge,
    KindSums,
    MeasureJob,
    MeasureResult,
    Surety,
    TokenData,
    WindowResult,
    pack,
)
from bench.measures.windows.subjects import Generation, Windows
from bench.measures.windows.timed import Timed
from bench.texts.stream import TokenStream


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
    nll: NDArray[np.float64],
    further: Further | None,
    kinds: NDArray[np.int64],
    kind_names: tuple[str, ...],
    pieces: Sequence[bytes],
) -> dict[str, KindSums]:
    """Sums for every kind of prompt that occurs, in float64. kinds: (tokens,) indices into kind_names; pieces: what each token spells."""

    def sums(of: NDArray[np.bool_]) -> KindSums:
        v, text = nll[of], b"".join(pieces[int(i)] for i in np.flatnonzero(of))
        return KindSums(
            tokens=len(v),
            nll=float(v.sum()),
            squares=float((v**2).sum()),
            reverse_kl=float(further.reverse_kl[of].sum()) if further else None,
            overlap=float(further.overlap[of].sum()) if further else None,
            n_bytes=len(text),
            n_words=len(text.decode("utf-8", "replace").split()),
        )

    return {kind_names[index]: sums(kinds == index) for index in np.unique(kinds)}


def _sums_by_surety(divergence: Divergence | None) -> tuple[Surety, ...] | None:
    """Sums by the fifth in which the reference's largest probability lies."""
    if divergence is None or divergence.further is None:
        return None
    fifths = np.minimum((SURETIES * divergence.further.confidence).astype(np.int64), SURETIES - 1)
    parts = (divergence.kl[fifths == i] for i in range(SURETIES))
    return tuple(Surety(tokens=len(kl), kl=float(kl.sum())) for kl in parts)


def time_rounds(subjects: list[Timed]) -> dict[str, list[float]]:
    """Seconds of every round by the subject's name, from pytest-benchmark."""
    from bench.measures.windows import timing as speed  # a third of a second to import

    return speed.time_rounds(subjects)


def _run_rounds(subjects: list[Timed], after: Callable[[dict[str, list[float]]], None]) -> dict[str, list[float]]:
    """The same rounds for those who want scores only, with plain seconds, which no table shows and `ppl --json` tells. after: is told
    of the seconds so far when a round has ended."""
    seconds: dict[str, list[float]] = {s.name: [] for s in subjects}
    for subject in subjects:
        for _ in range(subject.rounds):
            subject.setup()
            started = own_time()
            subject.target()
            seconds[subject.name].append(own_time() - started)
            subject.teardown()
            after(seconds)
    return seconds


def measure(job: MeasureJob, site: Site, progress: Share, turns: Turns) -> tuple[list[WindowResult], float]:
    """Score and time the job's windows, in order; and the longest time for which the machine stood still in a step, in seconds. Where
    neither is timed nor generated, each of several windows is told as soon as it is scored.

    Raises BenchError for a stream too short or a context too small.
    """
    settings = job.settings
    if len(job.windows) > 1 and job.reference_logits and not turns.has_others:
        raise ValueError("nobody writes the reference's logits of the next window meanwhile")
    stream, path = TokenStream.load(site.path(job.stream)), site.path(job.model)
    if (max(job.windows) + 1) * settings.window > len(stream.tokens):
        raise BenchError(f"window {max(job.windows)} is beyond the text's {len(stream.tokens)} tokens")
    with ExitStack() as opened:
        counter = opened.enter_context(energy_counter()) if job.timed else None
        gauge = None
        with turns.turn():
            started = time.perf_counter()
            model = opened.enter_context(Model(path, offload=settings.offload))
            if stream.tokens.max() >= model.n_vocab:
                raise BenchError(
                    f"{path}: its vocabulary of {model.n_vocab} is smaller than the reference's; they cannot be compared"
                )
            windows = Windows(model, stream, job, site, turns, progress, counter)
            opened.enter_context(windows.context)
            load_seconds = time.perf_counter() - started
            if job.timed:
                windows.context.warm_up(stream.tokens[: settings.window])
            # nobody else computes while it is this one's turn
            if counter is not None and (idle := counter.idle_watts()) > 0:
                gauge = Gauge(source=counter.source, memory=counter.memory, idle_watts=idle)
        tokens = stream.tokens[: settings.generate]
        generation = Generation(model, tokens, len(job.windows), settings.threads, turns, counter)
        subjects: list[Timed] = [windows, generation] if settings.generate else [windows]

        def told(so_far: dict[str, list[float]]) -> None:
            done, rest = divmod(len(so_far["window"]), len(windows.steps))
            if len(job.windows) > 1 and not settings.generate and not rest:
                turns.tell(_result(job, done - 1, stream, windows, load_seconds, so_far["window"], [], None))

        seconds = time_rounds(subjects) if job.timed else _run_rounds(subjects, told)
    results = [
        _result(job, i, stream, windows, load_seconds, seconds["window"], seconds.get("generation", []), energy)
        for i, energy in enumerate(_energies(gauge, windows, generation))
    ]
    return results, max(w.still for w in windows.found)


def _energies(gauge: Gauge | None, windows: Windows, generation: Generation) -> list[Energy | None]:
    """The energy of every window; None where there is no counter, or one that stands still or could not be read at times."""
    if gauge is None:
        return [None] * len(windows.found)
    of_generation: list[float | None] = [*generation.joules] or [None] * len(windows.found)
    return [
        Energy(**gauge.model_dump(), window=w.joules, generation=generated)
        if math.isfinite(w.joules) and (generated is None or math.isfinite(generated))
        else None
        for w, generated in zip(windows.found, of_generation, strict=True)
    ]


def _result(
    job: MeasureJob,
    i: int,
    stream: TokenStream,
    windows: Windows,
    load_seconds: float,
    steps: list[float],
    generated: list[float],
    energy: Energy | None,
) -> WindowResult:
    """The i-th window of a job. steps, generated: seconds of the rounds of all windows."""
    settings, found, n = job.settings, windows.found[i], len(windows.steps)
    scores, divergence = found.together()
    kinds = stream.kinds[stream.scored(job.windows[i], settings.window, settings.first_scored)]
    own = tuple(steps[i * n : (i + 1) * n])
    tokens = tuple(generated[i * settings.generate : (i + 1) * settings.generate])
    return WindowResult(
        window=job.windows[i],
        by_kind=_sums_by_kind(
            scores.nll, divergence.further if divergence else None, kinds, stream.kind_names, found.text
        ),
        tokens=_token_data(scores, divergence, kinds, stream.kind_names),
        by_surety=_sums_by_surety(divergence),
        seconds=sum(own),
        steps=own,
        pieces=pack(np.array(found.pieces), np.float32) if len(found.pieces) > n else None,
        activity=found.activity,
        generate_seconds=sum(tokens) if tokens else None,
        generate_steps=tokens or None,
        load_seconds=load_seconds,
        peak_memory_bytes=found.peak_memory,
        scoring_seconds=found.seconds,
        energy=energy,
    )


def measure_job(job: MeasureJob, site: Site, progress: Share) -> MeasureResult:
    """Score and time the job's windows, with the engine of this very process."""
    return MeasureResult(library=library(), windows=tuple(measure(job, site, progress, Alone())[0]))
