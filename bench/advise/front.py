"""The files of a run held against each other: which are worth their size, and what to recommend of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from bench.core.formats import divergence_text, percent, seconds, size
from bench.engine.memory import Memory
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import with_interval

#: Perplexity within this share of the reference's counts as kept.
_KEPT = 0.01


@dataclass(frozen=True)
class Measured:
    """A file of a run. memory: that it needs in use (memory_is_estimate), or else the peak of its measurement, bytes.

    ppl_change, kl: against the reference, None for itself and where it was not compared; window_seconds: median;
    tokens_per_second: generated; on_front: whether no file of at most its size is shown to be better, None where nothing
    tells; beaten_by: the smallest file that is.
    """

    recipe: str
    family: str
    n_bytes: int
    memory: int | None
    memory_is_estimate: bool
    fit: Literal["fits", "tight", "does not fit"] | None
    ppl_change: Estimate | None
    kl: Estimate | None
    window_seconds: float | None
    tokens_per_second: float | None
    on_front: bool | None = None
    beaten_by: str | None = None

    @property
    def is_reference(self) -> bool:
        return self.family == "Reference"

    def __str__(self) -> str:
        return f"{self.recipe} ({size(self.n_bytes)})"


def measured_files(
    run: Run, needs: Mapping[str, Memory], fits: Callable[[Memory | int], Literal["fits", "tight", "does not fit"]]
) -> tuple[Measured, ...]:
    """Files with all their windows, largest first. needs: by recipe, where known; random controls are left out: they are
    made to be beaten."""
    found = []
    for row in full_frame(run).to_dict("records"):
        name = str(row["recipe"])
        if windows_of(run).results(name) is None or "random" in str(row["family"]):
            continue
        needed: Memory | int = needs.get(name, int(row["peak_memory_bytes"]))
        found.append(
            Measured(
                recipe=name,
                family=str(row["family"]),
                n_bytes=int(row["bytes"]),
                memory=needed.needed if isinstance(needed, Memory) else needed,
                memory_is_estimate=name in needs,
                fit=fits(needed),
                ppl_change=_estimate(row, "ppl_change_vs_reference"),
                kl=_estimate(row, "kl"),
                window_seconds=_number(row, "window_seconds"),
                tokens_per_second=_number(row, "generation_tokens_per_second"),
            )
        )
    found.sort(key=lambda m: -m.n_bytes)
    return tuple(_placed(run, m, found) for m in found)


def _number(row: Mapping[Any, Any], key: str) -> float | None:
    return None if key not in row or pd.isna(row[key]) else float(row[key])


def _estimate(row: Mapping[Any, Any], key: str) -> Estimate | None:
    value = _number(row, key)
    return None if value is None else Estimate(value, _number(row, f"{key}_low"), _number(row, f"{key}_high"))


def _change(run: Run, before: str, after: str) -> Estimate:
    """How much further from the reference `after` is than `before`, paired: of divergence, or of perplexity without it."""
    a, b = windows_of(run).results(before) or [], windows_of(run).results(after) or []
    return kl_change(a, b) or stats.perplexity_change(a, b)


def _placed(run: Run, file: Measured, others: Sequence[Measured]) -> Measured:
    """The file with its place on the front."""
    if file.is_reference:
        return replace(file, on_front=True)
    smaller = [m for m in others if m.n_bytes <= file.n_bytes and m.recipe != file.recipe and not m.is_reference]
    for other in sorted(smaller, key=lambda m: m.n_bytes):
        change = _change(run, other.recipe, file.recipe)
        # without an interval there is nothing to go by but the value
        if change.value > 0 and change.excludes(0) is not False:
            return replace(file, on_front=False, beaten_by=other.recipe)
    return replace(file, on_front=True)


def recommendations(run: Run, files: Sequence[Measured]) -> list[str]:
    """What to take of the run's files on this machine, in plain sentences."""
    fitting = [m for m in files if m.fit == "fits"]
    if not fitting:
        return [
            "No file of the run fits in the memory that is available; close other programs, or take a smaller model."
        ]
    quantized = [m for m in fitting if not m.is_reference]
    said = []
    if any(m.is_reference for m in fitting):
        said.append(f"The reference itself fits: {next(str(m) for m in fitting if m.is_reference)}")
    if quantized:
        said += [_best(run, quantized), _kept(quantized)]
    if timed := [m for m in fitting if m.window_seconds]:
        said.append(_fastest(run, timed))
    if generating := [m for m in fitting if m.tokens_per_second]:
        first = max(generating, key=lambda m: m.tokens_per_second or 0.0)
        said.append(
            f"By the run, fastest to generate by its median: {first}, {first.tokens_per_second:.1f} tokens/s; no interval is given for it"
        )
    else:
        said.append("Generation was not timed in this run, so nothing can be said of it.")
    return said


def _best(run: Run, files: Sequence[Measured]) -> str:
    compared = [m for m in files if m.kl] or [m for m in files if m.ppl_change]
    if not compared:
        return "Nothing can be said of quality: no file of the run was compared with a reference."

    def distance(m: Measured) -> float:
        found = m.kl or m.ppl_change
        return found.value if found else 0.0

    best = min(compared, key=distance)
    what = (
        f"KL {with_interval(best.kl, divergence_text)}"
        if best.kl
        else f"perplexity {with_interval(best.ppl_change or Estimate(0.0), percent)}"
    )
    close = [m for m in compared if m.n_bytes < best.n_bytes and not _change(run, best.recipe, m.recipe).excludes(0)]
    close = [m for m in close if _change(run, best.recipe, m.recipe).has_interval]
    other = f"; {min(close, key=lambda m: m.n_bytes)} is smaller and no difference is shown" if close else ""
    return f"By the run, best quality that fits: {best}, {what} from the reference{other}"


def _kept(files: Sequence[Measured]) -> str:
    """The smallest file that keeps the reference's perplexity."""
    within = [m for m in files if m.ppl_change and m.ppl_change.value < _KEPT]
    if not any(m.ppl_change for m in files):
        return "Nothing can be said of perplexity against a reference: the run has none."
    if not within:
        nearest = min((m for m in files if m.ppl_change), key=lambda m: m.ppl_change.value if m.ppl_change else 0.0)
        change = with_interval(nearest.ppl_change or Estimate(0.0), percent)
        return f"No file that fits stays within 1 % of the reference's perplexity; the nearest is {nearest}, {change}"
    sure = [m for m in within if m.ppl_change and m.ppl_change.high is not None and m.ppl_change.high < _KEPT]
    smallest = min(sure or within, key=lambda m: m.n_bytes)
    change = with_interval(smallest.ppl_change or Estimate(0.0), percent)
    doubt = (
        ""
        if sure
        else "; its interval does not keep to that"
        if smallest.ppl_change and smallest.ppl_change.has_interval
        else "; too few windows for an interval"
    )
    return f"By the run, smallest with less than 1 % more perplexity: {smallest}, {change}{doubt}"


def _fastest(run: Run, files: Sequence[Measured]) -> str:
    first = min(files, key=lambda m: m.window_seconds or 0.0)
    told = [
        stats.time_ratio(*windows_of(run).same_sitting(first.recipe, m.recipe)).excludes(1) for m in files if m != first
    ]
    unclear = sum(1 for t in told if not t)
    doubt = f"; {unclear} of {len(told)} others cannot be told apart from it" if unclear else ""
    return f"By the run, fastest prompt processing by its median: {first}, {seconds(first.window_seconds or 0.0)} for {run.identity.settings.window} tokens{doubt}"
