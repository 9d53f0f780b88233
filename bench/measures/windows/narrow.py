"""Whether the intervals of a run are as narrow as requested: `--until 'kl ±5 %'`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from bench.measures.windows.agreement import kl_estimate
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import perplexity_change
from bench.records.identity import Until
from bench.records.record import LookRecord
from bench.records.run import Run
from bench.statistics.estimates import LEVEL, Estimate


def look(run: Run, names: Collection[str]) -> LookRecord:
    """What the intervals of these files are like, over the windows that they are to have by now."""
    assert run.identity.until is not None
    widths = {}
    reference = windows_of(run).results(run.reference)
    for name in names:
        measured = windows_of(run).results(name)
        if measured is not None and name != run.reference:
            widths[name] = _half_width(_estimate(run.identity.until, reference, measured))
    recipe = max(widths, key=widths.__getitem__, default=None)
    widest = None if recipe is None else widths[recipe]
    narrow = widest is not None and widest <= run.identity.until.percent / 100
    known = widest if widest is not None and math.isfinite(widest) else None
    return LookRecord(run=run.header.id, windows=run.windows, narrow=narrow, widest=known, recipe=recipe)


def _estimate(
    until: Until, reference: Sequence[WindowResult] | None, measured: Sequence[WindowResult]
) -> Estimate | None:
    if until.quantity == "kl":
        return kl_estimate(measured)
    change = perplexity_change(reference, measured) if reference is not None else None
    return change and change.map(lambda x: 1 + x)  # of the ratio


def _half_width(e: Estimate | None) -> float:
    """The longer half of an interval, of the value. Infinity without an interval; 0 for one of no width, as of the reference's copy."""
    if e is None or e.low is None or e.high is None:
        return math.inf
    half = max(e.high - e.value, e.value - e.low)
    return half / abs(e.value) if half else 0.0


def seen(found: LookRecord, run: Run) -> str:
    """What a look saw, in a sentence."""
    assert run.identity.until is not None
    known = (
        "no file has an interval" if found.widest is None else f"{found.recipe} is known to ±{100 * found.widest:.1f} %"
    )
    after = f"After {found.windows} of at most {run.identity.windows} windows {known}, the least certain of all files"
    if found.narrow:
        return f"{after}: narrow enough, no more windows are added"
    more = "more windows are added" if found.windows < run.identity.windows else "no more windows are left"
    return f"{after}: not the ±{run.identity.until.percent:g} % that was asked for, and {more}"


def notes(run: Run) -> list[str]:
    """On what a run ended whose windows were added until its intervals were narrow, and that they hold; none for another."""
    until, found = run.identity.until, run.looks.get(run.windows)
    if until is None or found is None:
        return []
    n = len(run.identity.looks)
    return [
        f"Windows were added until {until.in_words} in every file. {seen(found, run)}",
        f"Intervals hold although they were looked at on the way: each of {n} looks at most has the level {100 * (1 - LEVEL / n):.4g} %, so that "
        "all hold together in 95 % of runs",
    ]
