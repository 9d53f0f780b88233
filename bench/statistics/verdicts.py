"""Verdicts on estimates with their intervals, in words. The verdicts of one table hold together.

Ten comparisons without a true difference, each judged at 95 %, show at least one false one in nearly half of all tables. So the
comparisons of a table are judged as a family by Holm's procedure (A simple sequentially rejective multiple test procedure, Scandinavian
Journal of Statistics 6:2, 1979): of tables without any true difference, 5 % at most show one. It needs no assumption about
how comparisons depend on each other. The interval beside a verdict is that of its own row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.core.formats import MISSING
from bench.statistics.estimates import LEVEL, Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL

if TYPE_CHECKING:
    import pandas as pd

#: The verdict where nothing can be said.
FEW_WINDOWS = f"too few windows for an interval ({MIN_FOR_INTERVAL} are needed)"
NO_DIFFERENCE = "no difference shown"
#: That of a difference which computing the same otherwise makes too.
AT_FLOOR = "within the measurement floor"

#: How the words of a table are to be read, for its key.
TOGETHER = "Verdicts hold for the table as a whole: of tables without a true difference at most 5 % show one (Holm's procedure); an interval is for its row alone"


def with_interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    """`-50.0% [-52.1%, -48.3%]`, or the value alone."""
    if math.isnan(estimate.value):
        return MISSING
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)} [{form(estimate.low)}, {form(estimate.high)}]"


def shown(estimates: Sequence[Estimate | None], unchanged: float | Sequence[float] = 0.0) -> list[bool | None]:
    """Whether each of a family of estimates is shown to differ from what it would be without a difference; None for one that has no
    interval, which does not count as a comparison. unchanged: of all, or of each.
    """
    nulls = [unchanged] * len(estimates) if isinstance(unchanged, int | float) else list(unchanged)
    return holm([e.p_value(null) if e else None for e, null in zip(estimates, nulls, strict=True)])


def holm(p_values: Sequence[float | None]) -> list[bool | None]:
    """Which of a family of comparisons show a difference, by Holm's procedure; None for what has no p value, which does not count as one."""
    found: list[bool | None] = [None] * len(p_values)
    judged = [(p, i) for i, p in enumerate(p_values) if p is not None]
    goes_on = True
    for rank, (p, i) in enumerate(sorted(judged)):
        goes_on = goes_on and p <= LEVEL / (len(judged) - rank)
        found[i] = goes_on
    return found


def verdicts(changes: Sequence[Estimate | None], lower: str, higher: str) -> list[str]:
    """What the paired changes of one table allow to say; a missing one is shown as missing."""

    def said(change: Estimate | None, is_shown: bool | None) -> str:
        if change is None or math.isnan(change.value):
            return MISSING
        if change.is_within_floor(0):
            return AT_FLOOR
        if is_shown is None:
            return FEW_WINDOWS
        return (lower if change.value < 0 else higher) if is_shown else NO_DIFFERENCE

    return [said(*pair) for pair in zip(changes, shown(changes), strict=True)]


def with_verdicts(rows: Sequence[Mapping[str, object]], **columns: Sequence[str]) -> pd.DataFrame:
    """Rows as a table, with columns that could only be filled once all rows were there."""
    import pandas as pd  # half a second to import

    return pd.DataFrame([{**row, **{name: of[i] for name, of in columns.items()}} for i, row in enumerate(rows)])


#: The verdict on times that do not compare.
NOT_TIMED = "not measured in one sitting"
#: A ratio of times whose interval is wider than this says nothing about differences of a few percent.
_TOO_NOISY = 0.10


def time_verdicts(ratios: Sequence[Estimate | None]) -> list[str]:
    """What the paired ratios of times of one table allow to say, with how much noise there is where one allows nothing."""

    def said(ratio: Estimate | None, is_shown: bool | None) -> str:
        if ratio is None or math.isnan(ratio.value):
            return NOT_TIMED
        if is_shown is None or ratio.low is None or ratio.high is None:
            return f"too few passes for an interval ({MIN_FOR_INTERVAL} are needed)"
        if is_shown:
            return "slower" if ratio.value > 1 else "faster"
        if ratio.high - ratio.low > _TOO_NOISY:
            return f"too noisy to say (interval {100 * (ratio.high - ratio.low):.0f} points wide)"
        return NO_DIFFERENCE

    return [said(*pair) for pair in zip(ratios, shown(ratios, 1.0), strict=True)]
