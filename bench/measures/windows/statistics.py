"""Statistics derived from raw records: perplexity with its uncertainty, paired differences, robust timing summaries.

Means are taken over the parts of windows that are of one kind of prompt (statistics/layout.py). Comparisons are
paired: the same windows, the same passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.engine.settings import Settings
from bench.measures.windows.jobs import WindowResult, unpack
from bench.statistics.estimates import Estimate, Spread, exp, mean_of, spread, trimmed_mean_of
from bench.statistics.layout import Layout
from bench.statistics.undisturbed import (
    Times,
    fastest_quarter,
    relative_undisturbed_ratio,
    undisturbed,
    undisturbed_ratio,
)


@dataclass(frozen=True)
class Perplexity:
    """exp(mean NLL) over all scored tokens. se: the token-level standard error that llama-perplexity prints."""

    ppl: Estimate
    se: float
    tokens: int
    windows: int


def perplexity(windows: Sequence[WindowResult]) -> Perplexity:
    """PPL = exp(sum of NLL / tokens); se = PPL * sqrt((mean of squares - square of mean) / (tokens - 1)).

    The interval is that of the mean NLL, taken to the power of e.
    """
    sums = [s for w in windows for s in w.by_kind.values()]
    tokens = sum(s.tokens for s in sums)
    mean = sum(s.nll for s in sums) / tokens
    variance = max(sum(s.squares for s in sums) / tokens - mean**2, 0.0)
    log = mean_of(nll_of_parts(windows), layout(windows))
    se = math.sqrt(variance / (tokens - 1)) * exp(mean) if tokens > 1 else math.nan
    return Perplexity(replace(log.map(exp), value=exp(mean)), se, tokens, len(windows))


def perplexity_by_kind(windows: Sequence[WindowResult]) -> dict[str, float]:
    """exp(mean NLL) over the scored tokens of every kind of prompt, in order of their names."""
    totals: dict[str, tuple[int, float]] = {}
    for w in windows:
        for kind, sums in w.by_kind.items():
            tokens, nll = totals.get(kind, (0, 0.0))
            totals[kind] = tokens + sums.tokens, nll + sums.nll
    return {kind: exp(nll / tokens) for kind, (tokens, nll) in sorted(totals.items())}


def layout(windows: Sequence[WindowResult]) -> Layout:
    """The parts of windows that are of one kind of prompt: window by window, kinds in order of their names."""
    parts = [(i, kind, w.by_kind[kind].tokens) for i, w in enumerate(windows) for kind in sorted(w.by_kind)]
    looks = max((w.looks for w in windows), default=1)
    return Layout.of_parts([i for i, _, _ in parts], [kind for _, kind, _ in parts], [n for _, _, n in parts], looks)


def nll_of_parts(windows: Sequence[WindowResult]) -> NDArray[np.float64]:
    """Mean NLL of every part, in the order of `layout`, in nats a token."""
    return np.array([w.by_kind[kind].nll / w.by_kind[kind].tokens for w in windows for kind in sorted(w.by_kind)])


def mean_nll(windows: Sequence[WindowResult]) -> NDArray[np.float64]:
    """Mean NLL of every window, in nats a token."""
    return np.array(
        [sum(s.nll for s in w.by_kind.values()) / sum(s.tokens for s in w.by_kind.values()) for w in windows]
    )


def perplexity_change(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate:
    """Relative change of perplexity, PPL(after) / PPL(before) - 1, over the windows that both have, paired."""
    a, b = paired(before, after)
    return mean_of(nll_of_parts(b) - nll_of_parts(a), layout(a)).map(lambda x: exp(x) - 1)


#: Said of two files whose windows all have the same score.
SAME_SCORES = "equal to the last digit"


def same_scores(a: Sequence[WindowResult], b: Sequence[WindowResult]) -> bool:
    """Whether two files have the same score in every window, to the last digit. Distances do not count: a record of an early version lacks
    some."""

    def of(windows: Sequence[WindowResult]) -> list[dict[str, tuple[int, float, float]]]:
        return [{k: (s.tokens, s.nll, s.squares) for k, s in w.by_kind.items()} for w in windows]

    return of(a) == of(b)


def time_ratio(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate:
    """seconds(after) / seconds(before) of the passes that both have; NaN for none, or where they were not timed.

    Of undisturbed times where windows were timed in pieces, else the typical ratio of a pass.
    """
    a, b = paired(timed(before), timed(after))
    if not a:
        return Estimate(math.nan)
    x, y = pieces(a), pieces(b)
    if x is not None and y is not None:
        return undisturbed_ratio(x, y)
    return trimmed_mean_of(seconds_of(b) / seconds_of(a))


def timed(windows: Sequence[WindowResult]) -> list[WindowResult]:
    """Those that were timed on the CPU whose times are told: of a run at several sites perhaps not all."""
    return [w for w in windows if w.is_timed]


def seconds_of(windows: Sequence[WindowResult]) -> NDArray[np.float64]:
    """Seconds of every window, NaN for one that was not timed."""
    return np.array([w.seconds for w in windows], np.float64)


def generation_ratio(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate:
    """The same of generated tokens, the typical ratio of a pass; NaN where none were."""
    both = [
        (v, w)
        for v, w in zip(*paired(before, after), strict=True)
        if v.generate_seconds and w.generate_seconds and (v.generate_steps is None) == (w.generate_steps is None)
    ]
    if not both:
        return Estimate(math.nan)
    return trimmed_mean_of(np.array([token_seconds(w, 1) / token_seconds(v, 1) for v, w in both]))


def pieces(windows: Sequence[WindowResult]) -> Times | None:
    """Seconds of the pieces of every window, (windows, pieces); None where they are not on record alike."""
    found = [unpack(w.pieces, np.float32).astype(np.float64) for w in windows if w.pieces is not None]
    return np.stack(found) if found and len(found) == len(windows) and len({len(r) for r in found}) == 1 else None


def token_seconds(window: WindowResult, tokens: int) -> float:
    """Seconds for one of so many generated tokens in a pass: the mean of its fastest quarter of the tokens, since a single one may take ten times as long as the
    others; in runs that timed all tokens as a whole, their mean. The few tokens are nearly of one depth."""
    if window.generate_steps is None:
        return (window.generate_seconds or math.nan) / tokens
    return float(fastest_quarter(np.array(window.generate_steps)))


def side_by_side(values: NDArray[np.float64]) -> list[Estimate]:
    """Typical values over passes of what was measured side by side, without what a pass did to all alike. values: (files, passes), above
    zero.

    The mean of a pass's logarithms is taken from each of them. The intervals are for comparison within the group:
    within-subject intervals (Cousineau 2005, Confidence intervals in within-subject designs), widened as the mean over n files
    holds a share 1/n of each (Morey 2008, Confidence intervals from normalized data: a correction to Cousineau).
    """
    logs = np.log(values)
    of_pass = logs.mean(axis=0)
    n = len(values)
    wider = math.sqrt(n / (n - 1)) if n > 1 else 1.0

    def widened(e: Estimate) -> Estimate:
        return e.map(lambda x: math.exp(e.value + wider * (x - e.value)))

    return [widened(trimmed_mean_of(row)) for row in logs - of_pass + np.median(of_pass)]


def relative_time_ratio(
    before: Sequence[WindowResult],
    after: Sequence[WindowResult],
    reference_before: Sequence[WindowResult],
    reference_after: Sequence[WindowResult],
) -> Estimate:
    """seconds(after) / seconds(before) of passes, each relative to the reference's in the same pass.

    Of undisturbed times where all were timed in pieces, else the typical ratio of a pass. NaN for no pass that has all four,
    or where they were not timed.
    """
    all_four = _of_common_passes(*map(timed, (before, after, reference_before, reference_after)))
    if not all_four[0]:
        return Estimate(math.nan)
    a, b, x, y = (pieces(windows) for windows in all_four)
    if a is not None and b is not None and x is not None and y is not None:
        return relative_undisturbed_ratio(a, b, x, y)
    return _relative_ratio(*map(seconds_of, all_four))


def relative_generation_ratio(
    before: Sequence[WindowResult],
    after: Sequence[WindowResult],
    reference_before: Sequence[WindowResult],
    reference_after: Sequence[WindowResult],
) -> Estimate:
    """The same of generated tokens, the typical ratio of a pass."""
    all_four = _of_common_passes(
        *([w for w in x if w.generate_seconds] for x in (before, after, reference_before, reference_after))
    )
    flat = [w for windows in all_four for w in windows]
    if not flat or len({w.generate_steps is None for w in flat}) > 1:
        return Estimate(math.nan)
    return _relative_ratio(*(np.array([token_seconds(w, 1) for w in windows]) for windows in all_four))


def _of_common_passes(*of_files: Sequence[WindowResult]) -> list[list[WindowResult]]:
    """The windows of each, in order, that all of them have."""
    common = set.intersection(*({w.window for w in x} for x in of_files))
    return [sorted((w for w in x if w.window in common), key=lambda w: w.window) for x in of_files]


def _relative_ratio(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    reference_before: NDArray[np.float64],
    reference_after: NDArray[np.float64],
) -> Estimate:
    return trimmed_mean_of(after / reference_after / (before / reference_before))


def paired(a: Sequence[WindowResult], b: Sequence[WindowResult]) -> tuple[list[WindowResult], list[WindowResult]]:
    by_a, by_b = {w.window: w for w in a}, {w.window: w for w in b}
    common = sorted(by_a.keys() & by_b.keys())
    return [by_a[w] for w in common], [by_b[w] for w in common]


@dataclass(frozen=True)
class Speed:
    """window: seconds for one window, undisturbed and with its interval where it was timed in pieces, else the median; spread: of these seconds
    as they were; prompt and generation in tokens per second; disturbed: passes marked."""

    window: Estimate
    spread: Spread
    prompt: float
    generation: Estimate | None
    load_seconds: float
    disturbed: int


def speed(windows: Sequence[WindowResult], settings: Settings) -> Speed:
    """Of the windows that were timed, of which there is one at least."""
    windows = timed(windows)
    as_it_was = spread(seconds_of(windows).tolist())
    in_pieces = pieces(windows)
    window = Estimate(as_it_was.median) if in_pieces is None else undisturbed(in_pieces)
    return Speed(
        window=window,
        spread=as_it_was,
        prompt=settings.window / window.value,
        generation=_generation(windows, settings.generate),
        load_seconds=spread([w.load_seconds for w in windows if w.load_seconds is not None]).median,
        disturbed=sum(w.activity.disturbed(settings.threads) for w in windows if w.activity is not None),
    )


def peak_memory(windows: Sequence[WindowResult]) -> int:
    """Most memory that any of the processes took which measured them, in bytes."""
    return max(w.peak_memory_bytes for w in windows)


def _generation(windows: Sequence[WindowResult], tokens: int) -> Estimate | None:
    """Tokens per second, with an interval where tokens were timed one by one."""
    generated = [w for w in windows if w.generate_seconds is not None]
    if not generated:
        return None
    of_pass = [token_seconds(w, tokens) for w in generated]
    if all(w.generate_steps is not None for w in generated):
        seconds = undisturbed(np.array(of_pass)[:, None])
        low, high = (None if x is None else 1 / x for x in (seconds.high, seconds.low))
        return Estimate(1 / seconds.value, low, high)
    return Estimate(1 / spread(of_pass).median)
