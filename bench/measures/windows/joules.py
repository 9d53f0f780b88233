"""Statistics of the joules of passes or rounds: the same for windows of a run and for files that are timed outside one."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bench.statistics.estimates import Estimate, trimmed_mean_of

#: Seconds over all passes below which no figure is given: the counter is updated about once in a thousandth of a second only.
_LEAST = 1.0

#: Joules of each pass, by its number; none where they say too little.
Joules = dict[int, float]


def enough(passes: Iterable[tuple[int, float, float]]) -> Joules:
    """The joules of passes, where they are of a second or more. passes: (number, joules, seconds) of each."""
    found = list(passes)
    if sum(seconds for _, _, seconds in found) < _LEAST or not all(joules > 0 for _, joules, _ in found):
        return {}
    return {number: joules for number, joules, _ in found}


def typical(joules: Joules, tokens: int) -> Estimate:
    """Joules of one of so many tokens in a typical pass; NaN for none."""
    return trimmed_mean_of(np.array(list(joules.values())) / tokens) if joules else Estimate(math.nan)


def energy_ratio(before: Joules, after: Joules) -> Estimate:
    """joules(after) / joules(before) in a typical pass of those that both have; NaN for none."""
    common = sorted(before.keys() & after.keys())
    return trimmed_mean_of(np.array([after[n] / before[n] for n in common])) if common else Estimate(math.nan)
