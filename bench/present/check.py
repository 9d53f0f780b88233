"""A run compared with a baseline: figures that got worse beyond their uncertainty and a limit. The limits are in thresholds.toml.

Windows are paired. Times of two runs are not interleaved, so they are taken relative to the reference's of the same pass, as
in compare.py. So a change of the whole machine between the runs cancels out. The equal effect of a new engine on every file
cancels out too, so the reference's own change is reported beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from bench.core.errors import BenchError, nearest
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.floor import floors_of
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.present.check_rows import (
    FLOOR,
    GENERATION,
    KL,
    PPL,
    SIZE,
    UNDECIDED,
    WINDOW,
    Row,
    held_together,
    judged,
    ratio,
)
from bench.present.compare import of_other_rules, relative_time, same_machine, untimed
from bench.present.thresholds import Thresholds
from bench.records.identity import SPEEDS
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.verdicts import with_interval

#: What may differ from the baseline: the engine and the importance matrix are what one checks; another machine, and speeds that only one of them
#: measured, cost the speed (compare.py).
_MAY_DIFFER = ("library.", "importance", "machine.", SPEEDS)


@dataclass(frozen=True)
class Report:
    """rows: what is worse first, then what is over its limit, each in the baseline's order; told: what a reader must know beside them, a sentence each."""

    rows: tuple[Row, ...]
    told: tuple[str, ...]

    @property
    def worse(self) -> tuple[Row, ...]:
        return tuple(r for r in self.rows if r.worse)

    def table(self) -> pd.DataFrame:
        return pd.DataFrame([r.cells() for r in self.rows])

    def conclusion(self) -> str:
        """`Worse: 2 of 40 figures (IQ1_S Perplexity, IQ2_S missing)`."""
        named = ", ".join(f"{r.recipe} {r.figure.name if r.figure else r.verdict}" for r in self.worse)
        if named:
            return f"Worse: {len(self.worse)} of {len(self.rows)} figures ({named})"
        undecided = sum(r.verdict == UNDECIDED for r in self.rows)
        few = (
            f". {undecided} of {len(self.rows)} figures are over their limit, but an interval takes {MIN_FOR_INTERVAL} windows, so "
            "nothing says whether that is chance"
        )
        return f"Nothing got worse beyond its limit{few if undecided else ''}"


def check(
    run: Run,
    baseline: Run,
    thresholds: Thresholds,
    *,
    recipes: Sequence[str] | None = None,
    timed: Run | None = None,
    baseline_timed: Run | None = None,
) -> Report:
    """Every figure of the baseline's recipes against the run's.

    recipes: those to check, of which none may be missing in the run [default: all of the baseline that were asked of the run].
    timed, baseline_timed: where their times are read from [default: the runs themselves], see windows/rounds.py.
    Raises BenchError, with every field that differs, when the runs are not comparable, and for a recipe that the baseline lacks.
    """
    asked = None if recipes is None else _named(recipes, baseline)
    different = baseline.identity.differences(run.identity)
    if forbidden := [d for d in different if not d.startswith(_MAY_DIFFER)]:
        raise BenchError(f"cannot compare with the baseline: {'; '.join(forbidden)}; run again as the baseline was run")
    for name in of_other_rules(baseline, run):
        raise BenchError(f"cannot compare with the baseline: {name} stands for other rules there; make a new baseline")
    told = [f"Differs from the baseline: {d}" for d in different if not d.startswith(SPEEDS)]
    times = _Times(baseline_timed or baseline, timed or run)
    lacking = untimed(**{"the baseline": baseline, "the run": run})
    obstacle = (
        f"{lacking[0].lower()}{lacking[1:]}"
        if lacking
        else "measured on another machine"
        if not same_machine(baseline, run)
        else "there is no reference to take it relative to in both runs"
        if times.reference is None
        else None
    )
    if obstacle:
        told.append(f"Speed is left out: {obstacle}")
    elif change := times.of_reference():
        text = with_interval(change, ratio)
        told.append(
            f"Times are relative to {times.reference}, which itself took {text} times as long as in the baseline. The cause is the engine, "
            "the machine or its other load"
        )
    frames = [_by_recipe(r) for r in (baseline, run)]
    stored = (baseline_timed, timed)
    timings = [frame if of is None else _by_recipe(of) for frame, of in zip(frames, stored, strict=True)]
    floors = floors_of(baseline), floors_of(run)
    floor = max(f.kl_of_reference() or 0.0 for f in floors) + _ROUNDING
    rows: list[Row] = []
    never_asked = []
    for name in baseline.files if asked is None else asked:
        before, after = windows_of(baseline).results(name), windows_of(run).results(name)
        if before is None:
            told.append(f"{name}: not complete in the baseline, so not checked")
        elif after is None and asked is None and not _was_asked(run, name):
            never_asked.append(name)
        elif after is None:
            rows.append(_missing(run, name))
        else:
            both = frames[0][name], frames[1][name]
            of_changes = max(f.ppl(name) for f in floors), max(f.kl(name) for f in floors)
            rows += _quality(name, before, after, both, thresholds, floor, of_changes)
            if obstacle is None and name != times.reference:
                rows += times.rows(name, (timings[0][name], timings[1][name]), thresholds)
    scores = [row for row in rows if row.figure in (PPL, KL)]
    if equal := sum(row.verdict == stats.SAME_SCORES for row in scores):
        told.append(f"{equal} of {len(scores)} scores are equal in every window, to the last digit")
    if never_asked:
        told.append(f"Not asked of the run, so not checked: {', '.join(never_asked)}")
    new = [n for n in run.files if n not in baseline.files]
    if new and asked is None:
        told.append(f"New, so not checked: {', '.join(new)}")
    if not rows and never_asked:
        raise BenchError(
            f"cannot compare with the baseline: none of its recipes ({', '.join(never_asked)}) is in the run"
        )
    if not rows:
        raise BenchError("cannot compare with the baseline: it has no complete recipe; finish it first")
    return Report(tuple(sorted(held_together(rows), key=lambda row: row.urgency)), tuple(told))


def _named(recipes: Sequence[str], baseline: Run) -> list[str]:
    """The baseline's names of recipes, whatever their case. Raises BenchError for one that it has not measured."""
    complete = [name for name in baseline.files if windows_of(baseline).results(name)]
    known = {name.casefold(): name for name in complete}
    for name in recipes:
        if name.casefold() not in known:
            raise BenchError(
                f"--recipes {name}: the baseline has no complete recipe of this name{nearest(name, complete)}; "
                f"it has {', '.join(complete) or 'none'}"
            )
    return list(dict.fromkeys(known[name.casefold()] for name in recipes))


def _was_asked(run: Run, name: str) -> bool:
    """Whether a run was to measure a recipe: it builds, or fails to build, all that it is asked for before it measures."""
    return name in run.files or any(f.recipe == name for f in run.failures)


def _missing(run: Run, name: str) -> Row:
    reason = next((f.reason for f in run.failures if f.recipe == name), None)
    measured = len(windows_of(run).by_file.get(name, {}))
    said = reason or (f"{measured} of {run.windows} windows" if name in run.files else "not in the run")
    return Row(name, None, None, None, None, None, f"missing: {' '.join(said.replace('|', ' ').split())}", worse=True)


def _by_recipe(run: Run) -> dict[str, dict[str, float]]:
    """Raw figures of every file, those that exist."""
    records = full_frame(run).to_dict("records")
    return {str(r["recipe"]): {str(k): v for k, v in r.items() if not pd.isna(v)} for r in records}


def _quality(
    name: str,
    before: Sequence[WindowResult],
    after: Sequence[WindowResult],
    raw: tuple[dict[str, float], dict[str, float]],
    thresholds: Thresholds,
    floor: float,
    of_changes: tuple[float, float],
) -> list[Row]:
    """floor: of divergence itself, nats; of_changes: of a relative change of perplexity, and of a change of divergence in nats."""
    a, b = raw
    of_figure = partial(judged, name, raw=raw)
    change = replace(stats.perplexity_change(before, after), floor=of_changes[0])
    rows = [of_figure(PPL, change, thresholds.ppl_percent / 100, equal=stats.same_scores(before, after))]
    if "kl" in a:
        of_kl = kl_change(before, after)
        relative = of_kl.map(partial(_relative, to=a["kl"])) if of_kl else None
        if relative and a["kl"]:
            relative = replace(relative, floor=of_changes[1] / a["kl"])
        row = of_figure(KL, relative, thresholds.kl_percent / 100, equal=_same_divergence(before, after))
        if (
            row.verdict != stats.SAME_SCORES and b.get("kl", math.inf) <= floor
        ):  # what rounding does to the reference itself
            row = replace(row, verdict=FLOOR, worse=False)
        rows.append(row)
    rows.append(of_figure(SIZE, Estimate(b["bytes"] / a["bytes"] - 1), thresholds.size_percent / 100))
    return rows


def _same_divergence(before: Sequence[WindowResult], after: Sequence[WindowResult]) -> bool:
    """Whether every token is as far from the reference as before, to the last digit."""
    a, b = ([w.tokens.kl if w.tokens else None for w in windows] for windows in (before, after))
    return a == b


#: Divergence, in nats, that different builds of one engine may have of the same file.
_ROUNDING = 1e-6


def _relative(change: float, to: float) -> float:
    return change / to if to > 0 else math.copysign(math.inf, change) if change else 0.0


@dataclass(frozen=True)
class _Times:
    """Times of both runs. reference: what they are relative to, None when a run lacks it."""

    baseline: Run
    run: Run

    @property
    def reference(self) -> str | None:
        found = self.baseline.reference
        return (
            found
            if found is not None and windows_of(self.run).by_file.get(found) and found == self.run.reference
            else None
        )

    def of_reference(self) -> Estimate | None:
        """How much longer the reference itself took; the runs are not interleaved."""
        before, after = (windows_of(r).results(self.reference) for r in (self.baseline, self.run))
        return stats.time_ratio(before, after) if before and after else None

    def rows(self, name: str, raw: tuple[dict[str, float], dict[str, float]], thresholds: Thresholds) -> list[Row]:
        of_name = partial(relative_time, self.baseline, self.run, name, self.reference or "")
        found = [judged(name, WINDOW, of_name(stats.relative_time_ratio), thresholds.window_time_ratio, raw=raw)]
        if self.run.identity.settings.generate and GENERATION.key in raw[0]:
            tokens = of_name(stats.relative_generation_ratio)
            found.append(judged(name, GENERATION, tokens, thresholds.generation_time_ratio, raw=raw))
        return found
