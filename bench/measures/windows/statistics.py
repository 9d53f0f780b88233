"""Statistics derived from raw records: perplexity with its uncertainty, paired differences, robust timing summaries.

Tokens of one window are correlated, so 95 % intervals come from resampling windows. What is compared is paired: the same
windows, the same passes. The plain percentile bootstrap is too narrow for few windows (89 % for 8); its percentiles are
moved outwards to what Student's t asks for, Hesterberg's expanded percentile interval (The American Statistician 69:4,
2015, section 5.3). An interval that too few windows support is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.execute.jobs import Settings, WindowResult

#: Fewer windows (or passes) than this support no 95 % interval: of 5 differences without a true one, all have the same
#: sign in 1 of 16 cases, and every resample would then show an effect. Of 6 it is 1 in 32.
MIN_FOR_INTERVAL = 6
_RESAMPLES = 10_000
_SEED = 2048
#: Resamples that are in memory at a time, where units may be thousands.
_AT_ONCE = 200


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; low and high are None when there is too little to say."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def has_interval(self) -> bool:
        return self.low is not None

    def map(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing function of the value."""
        low, high = (None if x is None else function(x) for x in (self.low, self.high))
        return Estimate(function(self.value), low, high)

    def excludes(self, value: float) -> bool | None:
        """Whether the interval leaves a value out; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return not self.low <= value <= self.high


def mean_over_windows(by_window: NDArray[np.float64]) -> Estimate:
    """Mean of values of windows, with the interval that resampling them gives."""
    return _resample(by_window, np.mean)


def _resample(values: NDArray[np.float64], reduce: Callable[..., Any]) -> Estimate:
    """A mean or median over the first axis with its expanded percentile interval."""
    value = float(reduce(values))
    if len(values) < MIN_FOR_INTERVAL:
        return Estimate(value)
    chosen = np.random.default_rng(_SEED).integers(0, len(values), (_RESAMPLES, len(values)))
    tail = _expanded_tail(len(values))
    low, high = np.percentile(reduce(values[chosen], axis=1), [100 * tail, 100 * (1 - tail)])
    return Estimate(value, float(low), float(high))


def _expanded_tail(n: int) -> float:
    """Share to cut off on each side: Phi(-sqrt(n / (n - 1)) t), t the 97.5 % point of Student's t with n - 1 degrees.

    The root makes up for the bootstrap's variance with n in the denominator, t for estimating it at all.
    """
    from scipy.special import ndtr, stdtrit  # a third of a second to import

    return float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)))


@dataclass(frozen=True)
class Perplexity:
    """exp(mean NLL) over all scored tokens. se: the token-level standard error that llama-perplexity prints."""

    ppl: Estimate
    se: float
    tokens: int
    windows: int


def perplexity(windows: Sequence[WindowResult]) -> Perplexity:
    """PPL = exp(sum of NLL / tokens); se = PPL * sqrt((mean of squares - square of mean) / (tokens - 1)).

    The interval resamples windows. Windows of a run have the same number of tokens, so the mean of window means is the
    mean over tokens.
    """
    sums = [s for w in windows for s in w.by_kind.values()]
    tokens = sum(s.tokens for s in sums)
    mean = sum(s.nll for s in sums) / tokens
    variance = max(sum(s.squares for s in sums) / tokens - mean**2, 0.0)
    by_window = _mean_nll(windows)
    log = mean_over_windows(by_window)
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


def exp(x: float) -> float:
    """e to the x; infinity where that is beyond a float."""
    return math.exp(x) if x < 700 else math.inf


def _mean_nll(windows: Sequence[WindowResult]) -> NDArray[np.float64]:
    return np.array(
        [sum(s.nll for s in w.by_kind.values()) / sum(s.tokens for s in w.by_kind.values()) for w in windows]
    )


def perplexity_change(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate:
    """Relative change of perplexity, PPL(after) / PPL(before) - 1, over the windows that both have, paired."""
    a, b = paired(before, after)
    return mean_over_windows(_mean_nll(b) - _mean_nll(a)).map(lambda x: exp(x) - 1)


def time_ratio(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> Estimate:
    """Median over passes of seconds(after) / seconds(before), each ratio formed within one pass; NaN for no pass."""
    a, b = paired(before, after)
    if not a:
        return Estimate(math.nan)
    return _resample(np.array([y.seconds / x.seconds for x, y in zip(a, b, strict=True)]), np.median)


def relative_time_ratio(
    before: Sequence[WindowResult],
    after: Sequence[WindowResult],
    reference_before: Sequence[WindowResult],
    reference_after: Sequence[WindowResult],
) -> Estimate:
    """Median over passes of seconds(after) / seconds(before), each relative to the reference's in the same pass.

    NaN for no pass that has all four.
    """
    common = set.intersection(*({w.window for w in x} for x in (before, after, reference_before, reference_after)))
    if not common:
        return Estimate(math.nan)
    a, b, x, y = (
        sorted((w for w in of if w.window in common), key=lambda w: w.window)
        for of in (before, after, reference_before, reference_after)
    )
    ratios = [q.seconds / s.seconds / (p.seconds / r.seconds) for p, q, r, s in zip(a, b, x, y, strict=True)]
    return _resample(np.array(ratios), np.median)


def paired(a: Sequence[WindowResult], b: Sequence[WindowResult]) -> tuple[list[WindowResult], list[WindowResult]]:
    by_a, by_b = {w.window: w for w in a}, {w.window: w for w in b}
    common = sorted(by_a.keys() & by_b.keys())
    return [by_a[w] for w in common], [by_b[w] for w in common]


@dataclass(frozen=True)
class Spread:
    """Median of repeated timings and half the distance between the quartiles, in the same unit."""

    median: float
    half_iqr: float
    n: int

    @property
    def relative(self) -> float:
        return self.half_iqr / self.median


def spread(values: list[float]) -> Spread:
    quartiles = np.percentile(values, [25, 50, 75])
    return Spread(float(quartiles[1]), float(quartiles[2] - quartiles[0]) / 2, len(values))


@dataclass(frozen=True)
class Speed:
    """seconds: for one window; prompt and generation in tokens per second; memory in bytes; disturbed: passes marked."""

    seconds: Spread
    prompt: float
    generation: float | None
    load_seconds: float
    peak_memory_bytes: int
    disturbed: int


def speed(windows: Sequence[WindowResult], settings: Settings) -> Speed:
    seconds = spread([w.seconds for w in windows])
    generated = [w.generate_seconds for w in windows if w.generate_seconds is not None]
    return Speed(
        seconds=seconds,
        prompt=settings.window / seconds.median,
        generation=settings.generate / spread(generated).median if generated else None,
        load_seconds=spread([w.load_seconds for w in windows]).median,
        peak_memory_bytes=max(w.peak_memory_bytes for w in windows),
        disturbed=sum(w.activity.disturbed(settings.threads) for w in windows),
    )


def ratio_of_sums(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> Estimate:
    """sum(numerators) / sum(denominators) over units of unequal size (problems), with the interval that resampling units gives."""
    n = len(numerators)
    value = float(numerators.sum() / denominators.sum())
    if n < MIN_FOR_INTERVAL:
        return Estimate(value)
    rng, resampled = np.random.default_rng(_SEED), []
    for _ in range(_RESAMPLES // _AT_ONCE):
        chosen = rng.integers(0, n, (_AT_ONCE, n))
        resampled.append(numerators[chosen].sum(axis=1) / denominators[chosen].sum(axis=1))
    tail = _expanded_tail(n)
    low, high = np.percentile(np.concatenate(resampled), [100 * tail, 100 * (1 - tail)])
    return Estimate(value, float(low), float(high))


def share_of(count: int, n: int) -> Estimate:
    """A share of n independent units with Wilson's interval (1927), which holds for shares of 0 and 1 too."""
    from scipy.stats import binomtest

    if n < MIN_FOR_INTERVAL:
        return Estimate(count / n)
    interval = binomtest(count, n).proportion_ci(0.95, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high))
