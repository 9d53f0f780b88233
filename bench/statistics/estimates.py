"""Estimates with their 95 % intervals.

Tokens of one window are correlated, so intervals come from resampling windows, or whatever the units are. The plain
percentile bootstrap is too narrow for few units (89 % for 8); its percentiles are moved outwards to what Student's t asks
for, Hesterberg's expanded percentile interval (The American Statistician 69:4, 2015, section 5.3). An interval that too few
units support is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def median_of(values: NDArray[np.float64]) -> Estimate:
    """Median of ratios of passes or rounds, with the interval that resampling them gives."""
    return _resample(values, np.median)


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
class Resampling:
    """What another program needs to draw the same resamples as this module, and to read the same intervals off them.

    state, increment: of the generator PCG64 before the first draw. The indices of n units are those of its
    Generator.integers(0, n), resample after resample. tails: the share of resamples that is cut off on each side, by n; fewer
    units than `least` have no interval.
    """

    state: int
    increment: int
    resamples: int
    least: int
    tails: dict[int, float]


def resampling(most: int) -> Resampling:
    """How intervals over up to `most` units are computed."""
    state = np.random.PCG64(_SEED).state["state"]
    tails = {n: _expanded_tail(n) for n in range(MIN_FOR_INTERVAL, most + 1)}
    return Resampling(state["state"], state["inc"], _RESAMPLES, MIN_FOR_INTERVAL, tails)


def exp(x: float) -> float:
    """e to the x; infinity where that is beyond a float."""
    return math.exp(x) if x < 700 else math.inf


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
