"""What an estimate with its interval allows to say, in words."""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.core.formats import MISSING
from bench.statistics.estimates import MIN_FOR_INTERVAL, Estimate

#: The verdict where nothing can be said.
FEW_WINDOWS = f"too few windows for an interval ({MIN_FOR_INTERVAL} are needed)"


def with_interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    """`-50.0% [-52.1%, -48.3%]`, or the value alone."""
    if math.isnan(estimate.value):
        return MISSING
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"


def verdict(change: Estimate, lower: str, higher: str) -> str:
    """What a paired change with its interval allows to say."""
    shown = change.excludes(0)
    if shown is None:
        return FEW_WINDOWS
    return (lower if change.value < 0 else higher) if shown else "no difference shown"


#: A ratio of times whose interval is wider than this says nothing about differences of a few percent.
_TOO_NOISY = 0.10


def time_verdict(ratio: Estimate) -> str:
    """What a paired ratio of times allows to say, with how much noise there is where it allows nothing."""
    if math.isnan(ratio.value):
        return "not measured in one sitting"
    if ratio.low is None or ratio.high is None:
        return f"too few passes for an interval ({MIN_FOR_INTERVAL} are needed)"
    if ratio.excludes(1):
        return "slower" if ratio.value > 1 else "faster"
    if ratio.high - ratio.low > _TOO_NOISY:
        return f"too noisy to say (interval {100 * (ratio.high - ratio.low):.0f} points wide)"
    return "no difference shown"
