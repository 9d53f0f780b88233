"""Estimates with their intervals, 95 % unless said otherwise.

A mean's interval is Student's t on the scale where it is most nearly symmetric: the plain scale for differences and logarithms, the
logarithm for positive values, log odds for shares. The population that the interval is about and its degrees of freedom follow from
the layout of its units (layout.py). Timings have trimmed means. `nox -s stress -- coverage` shows how often intervals hold. With
too few units the interval is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.statistics.layout import MIN_FOR_INTERVAL, Layout

#: Share of intervals that miss the true value.
LEVEL = 0.05

#: An interval by the share of such intervals that may miss.
Interval = Callable[[float], tuple[float, float]]
Scale = Literal["plain", "logarithm", "odds"]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; low and high are None when no interval can be given. at: the interval at any level, None if it
    is known at 95 % only. floor: smaller differences are not judged, since computing the same in another way can cause them."""

    value: float
    low: float | None = None
    high: float | None = None
    at: Interval | None = field(default=None, compare=False, repr=False)
    floor: float = field(default=0.0, compare=False)

    @property
    def has_interval(self) -> bool:
        return self.low is not None

    def map(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing function of the value, without a floor."""
        low, high = (None if x is None else function(x) for x in (self.low, self.high))
        inner = self.at

        def at(level: float) -> tuple[float, float]:
            assert inner is not None
            ends = inner(level)
            return function(ends[0]), function(ends[1])

        return Estimate(function(self.value), low, high, None if inner is None else at)

    def excludes(self, value: float) -> bool | None:
        """Whether a value is outside the interval and beyond the floor; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return not self.low <= value <= self.high and not self.is_within_floor(value)

    def is_within_floor(self, value: float) -> bool:
        """Whether the distance from a value is too small to be judged: the floor at most."""
        return self.floor > 0 and abs(self.value - value) <= self.floor

    def p_value(self, value: float) -> float | None:
        """The smallest level at which the interval excludes a value: small for an implausible value. None without an interval, or
        with one at 95 % only."""
        if self.at is None:
            return None
        if self.is_within_floor(value):
            return 1.0
        least, most = math.log(_LEAST), 0.0
        if self._misses(value, _LEAST):
            return _LEAST
        for _ in range(50):
            middle = (least + most) / 2
            least, most = (least, middle) if self._misses(value, math.exp(middle)) else (middle, most)
        return math.exp(most)

    def _misses(self, value: float, level: float) -> bool:
        assert self.at is not None
        low, high = self.at(level)
        return not low <= value <= high


#: Lower levels are not distinguished.
_LEAST = 1e-12


def estimate(value: float, at: Interval) -> Estimate:
    """A value with its interval at 95 %, and at any other level."""
    low, high = at(LEVEL)
    return Estimate(value, low, high, at)


def mean_of(values: NDArray[np.float64], layout: Layout, scale: Scale = "plain") -> Estimate:
    """Weighted mean over units. values: (units,), the mean of each."""
    value = float(layout.shares @ values)
    contrasts, degrees = layout.contrasts
    if not degrees or not np.isfinite(values).all():
        return Estimate(value)
    deviations = contrasts @ values
    reach = student(value, math.sqrt(float(deviations @ deviations)), degrees, scale)
    return estimate(value, lambda level: reach(level / layout.looks))


def mean_over_windows(by_window: NDArray[np.float64], scale: Scale = "plain", looks: int = 1) -> Estimate:
    """Mean of values of windows of one kind."""
    return mean_of(by_window, Layout.of_windows(len(by_window), looks), scale)


def ratio_of_sums(
    numerators: NDArray[np.float64], denominators: NDArray[np.float64], scale: Scale = "plain"
) -> Estimate:
    """sum(numerators) / sum(denominators) over independent units of unequal size, such as problems."""
    return mean_of(numerators / denominators, Layout.of_units(denominators), scale)


def student(value: float, se: float, degrees: float, scale: Scale = "plain") -> Interval:
    """Interval of a value from its standard error: computed on a scale by the delta method, and transformed back."""
    from scipy.special import stdtrit  # a third of a second to import

    def at(level: float) -> tuple[float, float]:
        reach = float(stdtrit(degrees, 1 - level / 2)) * se
        if scale == "logarithm" and value > 0:
            return value / exp(reach / value), value * exp(reach / value)
        if scale == "odds" and 0 < value < 1:
            odds, factor = value / (1 - value), exp(reach / (value * (1 - value)))
            return odds / (factor + odds), 1 - 1 / (1 + odds * factor)
        return value - reach, value + reach

    return at


def trimmed_mean_of(values: NDArray[np.float64]) -> Estimate:
    """Typical value of ratios or speeds of rounds, above zero: the trimmed mean of their logarithms, transformed back.

    One value in eight is cut off at either end, since a disturbed round may be far off. The interval is that of Tukey and McLaughlin
    (Less vulnerable confidence and significance procedures for location based on a single sample, Sankhya A 25:3, 1963): Student's t
    of the rounds that are left, with the variance of the Winsorized values.
    """
    n, cut = len(values), len(values) // _CUT
    logs = np.sort(np.log(values))
    value = float(np.exp(logs[cut : n - cut].mean()))
    if n < MIN_FOR_INTERVAL:
        return Estimate(value)
    winsorized = np.clip(logs, logs[cut], logs[n - cut - 1])
    se = float(winsorized.std(ddof=1)) / ((1 - 2 * cut / n) * math.sqrt(n))
    reach = student(math.log(value), se, n - 2 * cut - 1, "plain")
    return estimate(math.log(value), reach).map(exp)


#: Of so many rounds one is cut off at either end.
_CUT = 8


def share_of(count: int, n: int) -> Estimate:
    """A share of n independent units with Wilson's interval (1927), which holds for shares of 0 and 1 too."""
    from scipy.stats import binomtest

    if n < MIN_FOR_INTERVAL:
        return Estimate(count / n)

    def at(level: float) -> tuple[float, float]:
        interval = binomtest(count, n).proportion_ci(1 - level, method="wilson")
        return float(interval.low), float(interval.high)

    return estimate(count / n, at)


def change_of_share(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> Estimate:
    """Difference of two shares of the same independent units: that of `after` minus that of `before`.

    The interval is Newcombe's method 10 (Improved confidence intervals for the difference between binomial proportions based on paired
    data, Statistics in Medicine 17:22, 1998): Wilson's intervals of both, and their correlation. Student's t would be sure of a
    change of nothing where no unit happens to differ.
    """
    n, a, b = len(after), share_of(int(after.sum()), len(after)), share_of(int(before.sum()), len(before))
    value = a.value - b.value
    at_a, at_b = a.at, b.at
    if at_a is None or at_b is None:
        return Estimate(value)
    both, neither = int((after & before).sum()), int((~after & ~before).sum())
    only_after, only_before = int((after & ~before).sum()), int((~after & before).sum())
    margins = (both + only_after) * (only_before + neither) * (both + only_before) * (only_after + neither)
    agreement = float(both * neither - only_after * only_before)
    if agreement > 0:  # continuity correction
        agreement = max(agreement - n / 2, 0.0)
    correlation = agreement / math.sqrt(margins) if margins else 0.0

    def at(level: float) -> tuple[float, float]:
        (low_a, high_a), (low_b, high_b) = at_a(level), at_b(level)

        def reach(x: float, y: float) -> float:
            return math.sqrt(max(x * x - 2 * correlation * x * y + y * y, 0.0))

        return value - reach(a.value - low_a, high_b - b.value), value + reach(high_a - a.value, b.value - low_b)

    return estimate(value, at)


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
