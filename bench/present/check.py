"""A run held against a baseline: what got worse beyond its uncertainty and a limit. The limits stand in thresholds.toml.

Windows are paired. Times of two runs are not interleaved, so they are taken relative to the reference's of the same pass, as
in compare.py: what the machine as a whole did between the runs cancels out, and with it what a new engine does to every file
alike, so the reference's own change is told beside them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.core.errors import BenchError, nearest
from bench.core.formats import MISSING, divergence_text, perplexity_text, size
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import floor_kl, full_frame
from bench.records.run import Run
from bench.statistics.estimates import MIN_FOR_INTERVAL, Estimate
from bench.statistics.verdicts import time_verdict, with_interval

DEFAULT = Path(__file__).with_name("thresholds.toml")

#: What may differ from the baseline: the engine and the importance matrix are what one checks; another machine costs the speed.
_MAY_DIFFER = ("library.", "importance", "machine.")
_NO_SPEED = "machine."


class Thresholds(BaseModel):
    """How much worse a figure may become: rises in percent, ratios of times."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ppl_percent: float = Field(ge=0)
    kl_percent: float = Field(ge=0)
    size_percent: float = Field(ge=0)
    window_time_ratio: float = Field(ge=1)
    generation_time_ratio: float = Field(ge=1)


def read_thresholds(path: Path | None = None) -> Thresholds:
    """The packaged limits, those of a file of the user's before them. Raises BenchError that names file, key and what is wrong."""
    packaged = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    if path is None:
        return Thresholds(**packaged)
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as e:
        raise BenchError(f"{path}: cannot be read as TOML ({e}); {DEFAULT.name} in the package is an example") from e
    for key in own:
        if key not in packaged:
            known = nearest(key, packaged) or f"; known are {', '.join(packaged)}"
            raise BenchError(f"{path}: {key}: unknown key{known}")
    try:
        return Thresholds(**packaged | own)
    except ValidationError as e:
        first = e.errors()[0]
        raise BenchError(f"{path}: {first['loc'][0]}: {first['msg']} (it is {first['input']!r})") from e


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

    def cells(self) -> dict[str, str]:
        form = self.figure.form if self.figure else str
        of_change = _ratio if self.figure and self.figure.unchanged else _percent
        before, after, limit = (
            MISSING if x is None or pd.isna(x) else f(x)
            for x, f in ((self.before, form), (self.after, form), (self.limit, of_change))
        )
        change = self.change and (Estimate(self.change.value) if self.figure and self.figure.exact else self.change)
        return {
            "Recipe": self.recipe,
            "Figure": self.figure.name if self.figure else "all",
            "Baseline": before,
            "Run": after,
            "Change [95 %]": with_interval(change, of_change) if change else MISSING,
            "Limit": limit,
            "Verdict": self.verdict,
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


_ratio = "{:.3f}".format


@dataclass(frozen=True)
class Report:
    """rows: in the baseline's order; told: what a reader must know beside them, a sentence each."""

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
        undecided = sum(r.verdict == _UNDECIDED for r in self.rows)
        few = f"; but {undecided} of {len(self.rows)} figures are over it and undecided, since that takes {MIN_FOR_INTERVAL} windows"
        return f"Nothing got worse beyond its limit{few if undecided else ''}"


def check(
    run: Run,
    baseline: Run,
    thresholds: Thresholds,
    *,
    timed: Run | None = None,
    baseline_timed: Run | None = None,
) -> Report:
    """Every figure of the baseline's recipes against the run's.

    timed, baseline_timed: where their times are read from [default: the runs themselves], see windows/rounds.py.
    Raises BenchError, with every field that differs, when the runs do not compare.
    """
    different = baseline.identity.differences(run.identity)
    if forbidden := [d for d in different if not d.startswith(_MAY_DIFFER)]:
        raise BenchError(f"cannot compare with the baseline: {'; '.join(forbidden)}; run again as the baseline was run")
    for name in [n for n in baseline.files if n in run.files]:
        rules = baseline.files[name].rules, run.files[name].rules
        if None not in rules and rules[0] != rules[1]:
            raise BenchError(
                f"cannot compare with the baseline: {name} stands for other rules there; make a new baseline"
            )
    told = [f"Differs from the baseline: {d}" for d in different]
    times = _Times(baseline_timed or baseline, timed or run)
    obstacle = (
        "measured on another machine"
        if any(d.startswith(_NO_SPEED) for d in different)
        else "there is no reference to take it relative to in both runs"
        if times.reference is None
        else None
    )
    if obstacle:
        told.append(f"Speed is left out: {obstacle}")
    elif change := times.of_reference():
        text = with_interval(change, _ratio)
        told.append(
            f"{times.reference}, which times are relative to, itself took {text} times as long as in the baseline: engine, machine or its other load"
        )
    frames = [_by_recipe(r) for r in (baseline, run)]
    stored = (baseline_timed, timed)
    timings = [frame if of is None else _by_recipe(of) for frame, of in zip(frames, stored, strict=True)]
    floor = max(floor_kl(r) or 0.0 for r in (baseline, run)) + _ROUNDING
    rows: list[Row] = []
    for name in baseline.files:
        before, after = windows_of(baseline).results(name), windows_of(run).results(name)
        if before is None:
            told.append(f"{name}: not complete in the baseline, so not checked")
        elif after is None:
            rows.append(_missing(run, name))
        else:
            both = frames[0][name], frames[1][name]
            rows += _quality(name, before, after, both, thresholds, floor)
            if obstacle is None and name != times.reference:
                rows += times.rows(name, (timings[0][name], timings[1][name]), thresholds)
    new = [n for n in run.files if n not in baseline.files]
    if new:
        told.append(f"New, so not checked: {', '.join(new)}")
    if not rows:
        raise BenchError("cannot compare with the baseline: it has no complete recipe; finish it first")
    return Report(tuple(rows), tuple(told))


def _missing(run: Run, name: str) -> Row:
    reason = next((f.reason for f in run.failures if f.recipe == name), None)
    measured = len(windows_of(run).by_file.get(name, {}))
    said = reason or (f"{measured} of {run.identity.windows} windows" if name in run.files else "not in the run")
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
) -> list[Row]:
    a, b = raw
    judged = partial(_judged, name, raw=raw)
    rows = [judged(PPL, stats.perplexity_change(before, after), thresholds.ppl_percent / 100)]
    if "kl" in a:
        change = kl_change(before, after)
        relative = change.map(partial(_relative, to=a["kl"])) if change else None
        row = judged(KL, relative, thresholds.kl_percent / 100)
        if b.get("kl", math.inf) <= floor:  # what rounding does to the reference itself
            row = replace(row, verdict="at the measurement floor", worse=False)
        rows.append(row)
    rows.append(judged(SIZE, Estimate(b["bytes"] / a["bytes"] - 1), thresholds.size_percent / 100))
    return rows


#: Divergence, in nats, that different builds of one engine may have of the same file.
_ROUNDING = 1e-6


def _relative(change: float, to: float) -> float:
    return change / to if to > 0 else math.copysign(math.inf, change) if change else 0.0


_UNDECIDED = "over the limit, but too few windows for an interval"


def _judged(
    recipe: str,
    figure: Figure,
    change: Estimate | None,
    limit: float,
    *,
    raw: tuple[dict[str, float], dict[str, float]],
) -> Row:
    before, after = (r.get(figure.key) for r in raw)
    if change is None or (math.isnan(change.value) and not figure.unchanged):
        return Row(recipe, figure, before, after, None, limit, "missing", worse=True)
    shown = change.value != figure.unchanged if figure.exact else change.excludes(figure.unchanged)
    over = change.value > limit
    if over and shown:
        verdict = "worse"
    elif over:
        verdict = "over the limit, but within uncertainty" if shown is False else _UNDECIDED
    elif figure.unchanged and not shown:
        verdict = time_verdict(change)
    elif shown:
        verdict = "better" if change.value < figure.unchanged else "within the limit"
    else:
        verdict = "no difference shown" if shown is False else "too few windows for an interval"
    return Row(recipe, figure, before, after, change, limit, verdict, worse=bool(over and shown))


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
        found = [_judged(name, WINDOW, self._ratio(name), thresholds.window_time_ratio, raw=raw)]
        if self.run.identity.settings.generate and GENERATION.key in raw[0]:
            found.append(
                _judged(name, GENERATION, self._ratio(name, of=_generating), thresholds.generation_time_ratio, raw=raw)
            )
        return found

    def _ratio(
        self, name: str, of: Callable[[Sequence[WindowResult]], Sequence[WindowResult]] = lambda windows: windows
    ) -> Estimate:
        reference = self.reference or ""
        (ref_a, a), (ref_b, b) = (
            windows_of(self.baseline).same_sitting(reference, name),
            windows_of(self.run).same_sitting(reference, name),
        )
        return stats.relative_time_ratio(of(a), of(b), of(ref_a), of(ref_b))


def _generating(windows: Sequence[WindowResult]) -> list[WindowResult]:
    """The windows with the time of generation in the place of the window's."""
    return [w.model_copy(update={"seconds": w.generate_seconds}) for w in windows if w.generate_seconds is not None]
