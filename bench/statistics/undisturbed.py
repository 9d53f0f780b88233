"""The time of undisturbed computing, estimated from times that other load made longer.

Other load only ever slows. So timed work is cut into short pieces, each piece is measured in every pass, and its
fastest quarter of the passes counts. The result is the time of a machine at rest, on a machine that never rests.

Such an estimate is not smooth, and resampling passes would give intervals that are too narrow: a resample never has a faster pass than there
was. The jackknife that leaves out several passes at once holds for it (Shao and Wu, A general theory for jackknife variance
estimation, Annals of Statistics 17:3, 1989); a quarter of them is left out here. `nox -s stress -- timing` shows how often
the intervals hold on a real machine.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bench.statistics.estimates import Estimate, estimate, exp, student
from bench.statistics.layout import MIN_FOR_INTERVAL

#: Of so many passes one is among the fastest that count, and one is left out at a time.
_QUARTER = 4
#: Ways to leave passes out that are looked at, drawn where there are more.
_MOST = 200
_SEED = 2048

#: Seconds of each piece in each pass, (passes, pieces).
Times = NDArray[np.float64]


def undisturbed_seconds(times: Times) -> float:
    """Sum over pieces of the mean of the fastest quarter of the passes."""
    return float(fastest_quarter(times).sum())


def fastest_quarter(times: Times) -> NDArray[np.float64]:
    """Mean of the fastest quarter along the first axis, of one at least."""
    n = max(1, round(len(times) / _QUARTER))
    found: NDArray[np.float64] = np.sort(times, axis=0)[:n].mean(axis=0)
    return found


def undisturbed(times: Times) -> Estimate:
    """That time with its interval, in seconds."""
    return _estimate(_logarithms(times), len(times))


def undisturbed_ratio(before: Times, after: Times) -> Estimate:
    """undisturbed(after) / undisturbed(before), of the same passes in the same order; pieces may differ in number."""
    return _estimate(_logarithms(after) - _logarithms(before), len(before))


def relative_undisturbed_ratio(
    before: Times, after: Times, reference_before: Times, reference_after: Times
) -> Estimate:
    """undisturbed_ratio(reference, file) after by the same before: of two runs, each against the reference in its own passes. The runs
    have the same passes."""
    changes = _logarithms(after) - _logarithms(reference_after) - _logarithms(before) + _logarithms(reference_before)
    return _estimate(changes, len(before))


def _estimate(logarithms: NDArray[np.float64], n: int) -> Estimate:
    """logarithms: of what is estimated, from all n passes and then without d of them in many ways. The variance is (n - d) / d times
    that of the latter; the interval is Student's t on the logarithmic scale."""
    value, without = float(logarithms[0]), logarithms[1:]
    if n < MIN_FOR_INTERVAL:
        return Estimate(math.exp(value))
    left_out = max(1, round(n / _QUARTER))
    se = math.sqrt((n - left_out) / left_out * float(without.var()))
    return estimate(value, student(value, se, n - 1)).map(exp)


def _logarithms(times: Times) -> NDArray[np.float64]:
    """Logarithm of the undisturbed seconds, from all passes and then without a quarter of them, in as many ways as are looked at."""
    return _computed(np.ascontiguousarray(times).tobytes(), len(times))


@lru_cache(maxsize=512)  # of a file, which is compared with many others
def _computed(data: bytes, n: int) -> NDArray[np.float64]:
    times = np.frombuffer(data).reshape(n, -1)
    chosen = [np.arange(n)]
    if n >= MIN_FOR_INTERVAL:
        chosen += _subsets(n, n - max(1, round(n / _QUARTER)))
    return np.log([undisturbed_seconds(times[passes]) for passes in chosen])


def _subsets(n: int, k: int) -> list[NDArray[np.int64]]:
    """Ways to choose k of n passes: all of them, or as many as are looked at."""
    if math.comb(n, k) <= _MOST:
        return [np.array(chosen) for chosen in combinations(range(n), k)]
    rng = np.random.default_rng(_SEED)
    return [rng.permutation(n)[:k] for _ in range(_MOST)]
