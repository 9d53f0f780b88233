"""The files of a run compared: which are worth their size, and which one to take by its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bench.advise.choice import AS_READ, READING, Pick, Recommendation, called
from bench.advise.situation import Fit, Situation, fit, room
from bench.advise.speed import Speed, expected, read_by
from bench.core.formats import divergence_text, percent, size
from bench.engine.memory import Memory
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame
from bench.records.describe import reference_caveat
from bench.records.resolution import MARK, resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate, mean_over_windows
from bench.statistics.layout import MIN_FOR_INTERVAL
from bench.statistics.undisturbed import undisturbed
from bench.statistics.verdicts import shown, with_interval

#: More perplexity, against the best file that fits, that a smaller or faster file may cost.
TOLERANCE = {"quality": 0.0, "balance": 0.01, "speed": 0.10}


@dataclass(frozen=True)
class Measured:
    """A file of a run. memory: that it needs in use (memory_is_estimate), or else the peak of its measurement, bytes.

    ppl_change, kl: against the reference, None for itself and where it was not compared; perplexity: its own; speed: measured where
    the run was measured on this machine, expected elsewhere; beyond: whether the reference cannot judge it (records/resolution.py);
    beaten_by: the smallest file of at most its size that is shown to be better, None for a file of the front.
    """

    recipe: str
    family: str
    n_bytes: int
    memory: int
    memory_is_estimate: bool
    fit: Fit
    perplexity: float
    ppl_change: Estimate | None
    kl: Estimate | None
    speed: Speed | None
    beyond: bool
    beaten_by: str | None = None

    @property
    def is_reference(self) -> bool:
        return self.family == "Reference"

    def __str__(self) -> str:
        return f"{self.recipe} ({size(self.n_bytes)})"


def measured_files(
    run: Run, needs: Mapping[str, Memory], here: Situation, *, same_machine: bool
) -> tuple[Measured, ...]:
    """Files with all their windows, largest first. needs: by recipe, where known; same_machine: whether the run's speeds, if any, hold.

    Random controls are left out: they are made to be beaten.
    """
    found, told = [], resolution(run)
    for row in full_frame(run).to_dict("records"):
        name = str(row["recipe"])
        results = windows_of(run).results(name)
        if results is None or "random" in str(row["family"]):
            continue
        needed = needs.get(name)
        memory = needed.needed if needed else int(row["peak_memory_bytes"])
        found.append(
            Measured(
                recipe=name,
                family=str(row["family"]),
                n_bytes=int(row["bytes"]),
                memory=memory,
                memory_is_estimate=needed is not None,
                fit=fit(memory, here.machine),
                perplexity=float(row["ppl"]),
                ppl_change=estimate(row, "ppl_change_vs_reference"),
                kl=estimate(row, "kl"),
                speed=_measured_speed(results, run.identity.settings.generate)
                if same_machine
                else expected(here.limits, read_by(run, name), needed.kv_cache if needed else 0, int(row["bytes"])),
                beyond=name in told.beyond,
            )
        )
    found.sort(key=lambda m: -m.n_bytes)
    names = [m.recipe for m in found]
    return tuple(replace(m, beaten_by=beaten_by(run, m.recipe, names)) for m in found)


def _measured_speed(results: Sequence[WindowResult], generated: int) -> Speed | None:
    """Tokens a second of the fastest passes of a run: other load only slows."""
    seconds = [stats.token_seconds(w, generated) for w in results if w.generate_seconds is not None]
    if not seconds:
        return None
    found = undisturbed(np.array(seconds)[:, None])
    return Speed(1 / (found.high or found.value), 1 / (found.low or found.value), 1 / found.value)


def estimate(row: Mapping[Any, Any], key: str) -> Estimate | None:
    """A figure of a row of full_frame with its interval; None where there is none."""
    value, low, high = (
        None if k not in row or pd.isna(row[k]) else float(row[k]) for k in (key, f"{key}_low", f"{key}_high")
    )
    return None if value is None else Estimate(value, low, high)


def _both(run: Run, a: str, b: str) -> tuple[list[WindowResult], list[WindowResult]]:
    return windows_of(run).results(a) or [], windows_of(run).results(b) or []


def worse(run: Run, better: str, file: str) -> bool:
    """Whether a file is shown to be further from the reference than another, all pairs of files of the run judged together.

    Files that the reference cannot judge are not shown to differ from it or from each other.
    """
    return _told_without(run, better, file, {better, file}) or (better, file) in run.view(_all_worse)


def _told_without(run: Run, better: str, file: str, both: set[str]) -> bool:
    """Whether no comparison is needed to say so: nothing is nearer to the reference than itself."""
    beyond = resolution(run).beyond
    if both & beyond and both <= beyond | {run.reference or ""}:
        return False
    return better == run.reference


def _all_worse(run: Run) -> frozenset[tuple[str, str]]:
    """Every (better, file) of which the file is shown to be worse."""
    names = [n for n in run.files if n != run.reference and windows_of(run).results(n)]
    return _worse_of(run, list(combinations(names, 2)))


def _worse_of(run: Run, pairs: Sequence[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Those of pairs of files, either way round, of which the second is shown to be worse than the first, paired by window: by
    divergence, or else perplexity. With too few windows for an interval every one of them must say so."""
    beyond = resolution(run).beyond
    pairs = [pair for pair in pairs if not set(pair) <= beyond]
    changes = [_change(*_both(run, *pair)) for pair in pairs]
    found = set()
    for (a, b), change, is_shown in zip(pairs, changes, shown(changes), strict=True):
        if is_shown is None:
            each = [_change([x], [y]).value for x, y in zip(*_both(run, a, b), strict=True)]
            is_shown = all(x > 0 for x in each) or all(x < 0 for x in each)
        if is_shown:
            found.add((a, b) if change.value > 0 else (b, a))
    return frozenset(found)


def _change(a: Sequence[WindowResult], b: Sequence[WindowResult]) -> Estimate:
    return kl_change(a, b) or stats.perplexity_change(a, b)


def beaten_by(run: Run, file: str, others: Iterable[str]) -> str | None:
    """The smallest of the others that is of at most a file's size and shown to be better; None for a file worth its size."""
    sizes = {n: run.files[n].n_bytes for n in others if n not in (file, run.reference)}
    smaller = [n for n, n_bytes in sizes.items() if n_bytes <= run.files[file].n_bytes]
    return next((n for n in sorted(smaller, key=sizes.__getitem__) if worse(run, n, file)), None)


def nearest(run: Run, files: Sequence[str]) -> str:
    """The file nearest to the reference by one figure that all have: their divergence, or else perplexity. The reference itself is
    nearest. files: at least one, each with all its windows."""
    if run.reference is not None and run.reference in files:
        return run.reference
    frame = full_frame(run).set_index("recipe").loc[list(files)]
    figure = "kl" if "kl" in frame and frame["kl"].notna().all() else "ppl"
    return str(frame[figure].idxmin())


def _nearest(run: Run, files: Sequence[Measured]) -> Measured:
    by_name = {m.recipe: m for m in files}
    return by_name[nearest(run, list(by_name))]


def by_run(run: Run, files: Sequence[Measured], here: Situation) -> Recommendation:
    """What to take by what a run measured. The best file that fits sets the mark: of all files that are not shown to be worse, or
    whose perplexity is higher by no more than what is tolerated, the smallest is taken (prefer speed: the fastest). Files that the
    reference cannot judge are left out, as from a model card.
    """
    wishes, judged = here.wishes, [m for m in files if not m.beyond]
    if files and not judged:
        return Recommendation(None, None, None, _unjudged(run, files))
    allowed = [m for m in judged if wishes.allows(m.n_bytes)]
    fitting = [m for m in allowed if m.fit == "fits"] or [m for m in allowed if m.fit == "tight"]
    if not fitting:
        return Recommendation(None, None, None, (_nothing(judged, here), *_unjudged(run, files)))
    at_ease = [m for m in fitting if m.speed and m.speed.middle >= READING]
    pool = at_ease if wishes.prefer == "balance" and at_ease else fitting
    measured = any(m.speed and m.speed.measured for m in pool)
    told = _Pool(here, narrowed=len(pool) < len(fitting), measured=measured)
    best = _nearest(run, pool)
    rest = [m for m in pool if m is not best]
    # these are judged together, as only they are asked about
    away = _worse_of(run, [(best.recipe, m.recipe) for m in rest if not best.is_reference])
    level = [best, *(m for m in rest if not best.is_reference and (best.recipe, m.recipe) not in away)]
    within = [m for m in pool if m in level or _loss(run, best, m).value <= TOLERANCE[wishes.prefer]]
    take = _fastest(run, within) if wishes.prefer == "speed" else min(within, key=lambda m: m.n_bytes)
    less = [m for m in fitting if m.n_bytes < take.n_bytes and m.beaten_by is None]
    more = [m for m in fitting if m.n_bytes > take.n_bytes and worse(run, m.recipe, take.recipe)]
    smaller = _nearest(run, less) if less else None
    better = min(more, key=lambda m: m.n_bytes, default=None)
    return Recommendation(
        _pick(take, _why(run, take, best, level, pool, told)),
        _pick(smaller, _against(run, take, smaller)) if smaller else None,
        _pick(better, _against(run, take, better)) if better else None,
        (*_unjudged(run, files, take), *_caveats(run, take)),
        called(smaller is not None and _is_faster(run, smaller, take)),
    )


def _loss(run: Run, best: Measured, file: Measured) -> Estimate:
    return stats.perplexity_change(*_both(run, best.recipe, file.recipe))


def _fastest(run: Run, files: Sequence[Measured]) -> Measured:
    """The smallest of the files that are not shown to generate slower than the fastest."""
    timed = [m for m in files if m.speed]
    if not timed:
        return min(files, key=lambda m: m.n_bytes)
    first = max(timed, key=lambda m: m.speed.middle if m.speed else 0.0)
    return min((m for m in timed if m is first or not _slower(run, first, m)), key=lambda m: m.n_bytes)


def _slower(run: Run, first: Measured, file: Measured) -> bool:
    if not (first.speed and first.speed.measured):
        return True  # expected: both follow from one rule, whose error they share
    ratio = stats.generation_ratio(*_both(run, first.recipe, file.recipe))
    return bool(ratio.excludes(1)) and ratio.value > 1


def _is_faster(run: Run, one: Measured, other: Measured) -> bool:
    """Whether a file is expected or shown to generate faster than another."""
    if not (one.speed and other.speed and one.speed.middle > other.speed.middle):
        return False
    return _slower(run, one, other)


@dataclass(frozen=True)
class _Pool:
    """What the files have in common that one is taken of. narrowed: whether files that fit were left out for being slow; measured:
    whether their speeds are those of the run."""

    here: Situation
    narrowed: bool
    measured: bool

    def that(self, fit: str, generate: str) -> str:
        """`fits and generates as fast as one reads (5 tokens/s)`, with these forms of the verbs."""
        fits = self.here.wishes.that_fit(fit)
        if not self.narrowed:
            return fits
        ease = f"as fast as one reads ({READING:.0f} tokens/s)" if self.measured else AS_READ
        return f"{fits} and {generate} {ease}"


def _why(
    run: Run, take: Measured, best: Measured, level: Sequence[Measured], pool: Sequence[Measured], told: _Pool
) -> str:
    prefer, one = told.here.wishes.prefer, told.that("fits", "generates")
    least = "fastest" if prefer == "speed" else "smallest"
    if take is not best and take in level:
        return f"No difference in quality is shown between it and {best}, the best that {one}, so the {least} such file is recommended."
    if take is not best:
        loss = with_interval(_loss(run, best, take), percent)
        tolerated = f"{100 * TOLERANCE[prefer]:.0f} %"
        return f"It is the {least} file with at most {tolerated} more perplexity than {best}, the best that {one}: {loss} against {best.recipe}."
    others = [m for m in pool if m is not take]
    if not others:
        which = " and that it can judge" if resolution(run).beyond else ""
        return f"It is the only file of the run that {one}{which}."
    if take.is_reference:
        next_one = _nearest(run, others)
        loss = with_interval(_loss(run, take, next_one), percent)
        which = "quantized file that this run can judge" if resolution(run).beyond else "quantized file"
        return (
            f"It is the reference itself, and it {one}. The nearest {which}, {next_one}, has {loss} perplexity "
            f"against {take.recipe}."
        )
    return f"It has the best quality of the {len(pool)} files that {told.that('fit', 'generate')}: {_from_reference(run, take)}."


def _from_reference(run: Run, file: Measured) -> str:
    if file.kl and file.ppl_change:
        change = with_interval(file.ppl_change, percent)
        return f"KL {with_interval(file.kl, divergence_text)} and {change} perplexity against {run.reference}"
    return f"perplexity {file.perplexity:.2f}"


def _against(run: Run, take: Measured, other: Measured) -> str:
    return f"It has {with_interval(_loss(run, take, other), percent)} perplexity against {take.recipe}."


def _unjudged(run: Run, files: Sequence[Measured], take: Measured | None = None) -> tuple[str, ...]:
    """That the reference was quantized once, or widened, where it is taken, and that files which it cannot judge are left out."""
    n, told = sum(m.beyond for m in files), resolution(run)
    said = [reference_caveat(run)] if take is not None and take.is_reference else [f"{told.sentence}." if n else ""]
    if n:
        which = "One such file is" if n == 1 else f"{n} such files are"
        said.append(
            f"{which} marked {MARK} in the table and never recommended. To compare them, measure with a model that was never quantized."
        )
    return tuple(filter(None, said))


def _caveats(run: Run, take: Measured) -> tuple[str, ...]:
    said = []
    if take.fit == "tight":
        said.append("It fits only once other programs are closed.")
    n = len(windows_of(run).results(take.recipe) or [])
    if not mean_over_windows(np.zeros(n)).has_interval:
        said.append(
            f"The run has {n} windows, too few for intervals ({MIN_FOR_INTERVAL} are needed): this rests on differences that every window shows."
        )
    if take.ppl_change and take.ppl_change.value > 1:
        said.append(
            "Its perplexity is more than twice the reference's: expect wrong answers. A smaller model of more bits may do better."
        )
    return tuple(said)


def _pick(m: Measured, why: str) -> Pick:
    speed = f"{m.speed} tokens/s ({'measured' if m.speed.measured else 'expected'})" if m.speed else None
    return Pick(m.recipe, m.n_bytes, why, m.memory, m.fit, speed, measured=bool(m.speed and m.speed.measured))


def _nothing(files: Sequence[Measured], here: Situation) -> str:
    if not files:
        return "No file of the run has all its windows yet. Let the run finish: the same command continues it."
    smallest = min(files, key=lambda m: m.n_bytes)
    if not here.wishes.allows(smallest.n_bytes):
        most = size(here.wishes.max_size or 0)
        return f"No file of the run has at most {most}: the smallest is {smallest}. Allow more with --max-size."
    least = min(files, key=lambda m: m.memory)
    return (
        f"No file of the run fits: {least.recipe} needs {size(least.memory)} of memory; {room(here.machine)}. "
        "Close other programs, or take a smaller model."
    )
