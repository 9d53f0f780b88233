"""The change of one figure of one recipe between two runs, its limit, and the verdict that both allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.core.formats import MISSING, divergence_text, perplexity_text, size
from bench.measures.windows.statistics import SAME_SCORES
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import FEW_WINDOWS, NO_DIFFERENCE, shown, time_verdicts, with_interval


@dataclass(frozen=True)
class Figure:
    """A figure that is checked. key: its column of full_frame; unchanged: the change that is none; exact: it has no uncertainty."""

    name: str
    key: str
    form: Callable[[float], str]
    unchanged: float = 0.0
    exact: bool = False


PPL = Figure("Perplexity", "ppl", perplexity_text)
KL = Figure("KL divergence", "kl", divergence_text)
SIZE = Figure("Size", "bytes", size, exact=True)
WINDOW = Figure("Time of a window", "window_seconds", "{:.2f} s".format, unchanged=1.0)
GENERATION = Figure("Time of generation", "generation_tokens_per_second", "{:.1f} tokens/s".format, unchanged=1.0)


@dataclass(frozen=True)
class Row:
    """What became of one figure of one recipe. change: relative, after / before - 1, and of times the ratio; limit: of the same
    kind; None where there is none."""

    recipe: str
    figure: Figure | None
    before: float | None
    after: float | None
    change: Estimate | None
    limit: float | None
    verdict: str
    worse: bool

    @property
    def urgency(self) -> int:
        """Where it stands in a table: 0 what is worse, 1 what is over its limit without being shown to be, 2 the rest."""
        return 0 if self.worse else 1 if self.verdict in (UNDECIDED, WITHIN) else 2

    def cells(self) -> dict[str, str]:
        form = self.figure.form if self.figure else str
        of_change = ratio if self.figure and self.figure.unchanged else _percent
        before, after, limit = (
            MISSING if x is None or pd.isna(x) else f(x)
            for x, f in ((self.before, form), (self.after, form), (self.limit, of_change))
        )
        certain = self.verdict == SAME_SCORES or (self.figure is not None and self.figure.exact)
        change = Estimate(self.change.value) if self.change and certain else self.change
        return {
            "Recipe": self.recipe,
            "Figure": self.figure.name if self.figure else "all",
            "Verdict": self.verdict,
            "Change [95 %]": with_interval(change, of_change) if change else MISSING,
            "Limit": limit,
            "Baseline": before,
            "Run": after,
        }

    def json(self) -> dict[str, object]:
        change = self.change or Estimate(math.nan)
        return {
            "recipe": self.recipe,
            "figure": self.figure.key if self.figure else None,
            "baseline": self.before,
            "run": self.after,
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
            "limit": self.limit,
            "verdict": self.verdict,
            "worse": self.worse,
        }


def _percent(value: float) -> str:
    return f"{100 * value:+.2f}%"  # a digit more than in other tables: limits are tenths of a percent


ratio = "{:.3f}".format

WITHIN = "over the limit, but within uncertainty"
FLOOR = "at the measurement floor"
UNDECIDED = f"over the limit, but {FEW_WINDOWS}"


def judged(
    recipe: str,
    figure: Figure,
    change: Estimate | None,
    limit: float,
    *,
    raw: tuple[dict[str, float], dict[str, float]],
    equal: bool = False,
) -> Row:
    """What a change of a figure comes to. raw: the figures of baseline and run by their keys; equal: all that the figure is
    computed from is the same in both runs, whatever few windows allow to say."""
    before, after = (r.get(figure.key) for r in raw)
    if change is None or (math.isnan(change.value) and not figure.unchanged):
        return Row(recipe, figure, before, after, None, limit, "missing", worse=True)
    differs = change.value != figure.unchanged if figure.exact else change.excludes(figure.unchanged)
    over = change.value > limit
    if equal or (figure.exact and not differs):
        verdict = SAME_SCORES if equal else "equal"
    elif over and differs:
        verdict = "worse"
    elif over:
        verdict = WITHIN if differs is False else UNDECIDED
    elif figure.unchanged and not differs:
        [verdict] = time_verdicts([change])
    elif differs:
        verdict = "better" if change.value < figure.unchanged else "within the limit"
    else:
        verdict = NO_DIFFERENCE if differs is False else FEW_WINDOWS
    return Row(recipe, figure, before, after, change, limit, verdict, worse=bool(over and differs))


def held_together(rows: Sequence[Row]) -> list[Row]:
    """Rows whose verdicts hold together: what is shown by a row's own interval only is no longer said of it."""
    judged_as_one = [
        r for r in rows if r.figure and not r.figure.exact and r.change and r.verdict not in (SAME_SCORES, FLOOR)
    ]
    together = shown([r.change for r in judged_as_one], [r.figure.unchanged for r in judged_as_one if r.figure])
    return [_alone(r) if r in judged_as_one and not together[judged_as_one.index(r)] else r for r in rows]


def _alone(row: Row) -> Row:
    """A row without what only its own interval shows."""
    if row.figure is None or row.change is None or not row.change.excludes(row.figure.unchanged):
        return row
    over = row.limit is not None and row.change.value > row.limit
    return replace(row, verdict=WITHIN if over else NO_DIFFERENCE, worse=False)
