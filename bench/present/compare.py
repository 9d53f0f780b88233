"""Two runs side by side: refused when their figures are not comparable, paired window by window when they do.

Scores are the same on every machine with the same build of the engine, so runs of different machines are comparable except in speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bench.core.errors import BenchError
from bench.core.formats import MISSING, divergence_change, percent
from bench.measures.columns import Column, Columns
from bench.measures.frames import interval
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.floor import kl_above_floor, ppl_above_floor
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import NO_SPEEDS
from bench.records.identity import SPEEDS
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import time_verdicts, verdicts, with_interval

#: What leaves the speed out: scores are the same on every CPU, times are not.
_OTHER_MACHINE = "machine."
#: What may differ between runs that are compared: it is what one compares them for, or leaves the speed out.
_MAY_DIFFER = ("importance", _OTHER_MACHINE, SPEEDS)


COLUMNS = Columns(
    "compared",
    "`compare_runs(...)`",
    "One row a recipe of both runs: how the second run differs from the first, paired by window.",
    (
        Column("recipe", "name of a recipe that both runs have"),
        Column("ppl_change", "PPL / PPL of the first run - 1; 0.1 is 10 % worse", "ratio", interval=True),
        Column("kl_change", "mean KL divergence from the reference minus that of the first run", "nats", interval=True),
        Column("same_scores", "whether every window has the same score in both runs, to the last digit"),
        Column("bytes_change", "size of the file / that of the first run - 1", "ratio"),
        Column(
            "time_ratio",
            "time for a window / that of the first run, each relative to its run's reference in the same pass; none on "
            "different machines, or where a run measured no speeds",
            "ratio",
            interval=True,
        ),
    ),
    index=("recipe",),
)


def check_comparable(a: Run, b: Run) -> None:
    """Raise BenchError that names every field that keeps the runs from being compared, with both values."""
    different = [d for d in a.identity.differences(b.identity) if not d.startswith(_MAY_DIFFER)]
    if different:
        raise BenchError(f"cannot compare: {'; '.join(different)}")
    if not [name for name in a.files if name in b.files and name != a.reference]:
        raise BenchError(f"cannot compare: no recipe is in both runs ({', '.join(a.files)} and {', '.join(b.files)})")


def same_machine(a: Run, b: Run) -> bool:
    """Whether the times of two runs would compare."""
    return not any(d.startswith(_OTHER_MACHINE) for d in a.identity.differences(b.identity))


def untimed(**runs: Run) -> str | None:
    """That speeds were not measured, in which of the runs; None where all have them. runs: by what they are called."""
    without = [name for name, run in runs.items() if not run.identity.speeds]
    return f"{NO_SPEEDS} in {' and '.join(without)}" if without else None


def of_other_rules(a: Run, b: Run) -> list[str]:
    """Names of both runs that stand for other rules in one than in the other; files of early versions tell none."""
    rules = {name: (a.files[name].rules, b.files[name].rules) for name in a.files if name in b.files}
    return [name for name, (in_a, in_b) in rules.items() if None not in (in_a, in_b) and in_a != in_b]


def relative_time(
    a: Run,
    b: Run,
    name: str,
    reference: str,
    ratio: Callable[..., Estimate] = stats.relative_time_ratio,
) -> Estimate:
    """A recipe's time in run B by that in run A, each relative to the reference's of the same pass. ratio: of which times.

    Timings of two runs are not interleaved; what the machine as a whole did between them cancels out so.
    """
    (ref_a, in_a), (ref_b, in_b) = (windows_of(run).same_sitting(reference, name) for run in (a, b))
    return ratio(in_a, in_b, ref_a, ref_b)


def comparison_notes(a: Run, b: Run, table: pd.DataFrame) -> list[str]:
    """What a reader must know beside the table, a sentence each."""
    equal = int((table["Perplexity"] == stats.SAME_SCORES).sum())
    said = [f"{equal} of {len(table)} files have the same score in every window, to the last digit."] if equal else []
    if lacking := untimed(A=a, B=b):
        said.append(f"{lacking}, so only scores are compared.")
    elif not same_machine(a, b):
        said.append(
            f"A was measured on {a.identity.machine}, B on {b.identity.machine}. Scores compare all the same; speed does not "
            "and is left out."
        )
    return said


@dataclass(frozen=True)
class Change:
    """How a recipe of run B differs from that of run A. ppl: ratio - 1; kl: nats, None without a reference; bytes: ratio - 1;
    time: ratio of the times relative to the reference's, None where they are not comparable."""

    recipe: str
    ppl: Estimate
    kl: Estimate | None
    same_scores: bool
    bytes: float
    time: Estimate | None


def changes(a: Run, b: Run) -> list[Change]:
    """Every recipe of both runs, paired by window.

    Raises BenchError for runs that are not comparable.
    """
    check_comparable(a, b)
    timed = same_machine(a, b) and not untimed(A=a, B=b)
    for name in of_other_rules(a, b):
        raise BenchError(f"cannot compare: {name} stands for other rules in one run than in the other")
    found = []
    for name in a.files:
        first, second = windows_of(a).results(name), windows_of(b).results(name)
        if not (first and second):
            continue
        reference = a.reference if timed and a.reference == b.reference else None
        found.append(
            Change(
                recipe=name,
                ppl=_above_floors(stats.perplexity_change(first, second), ppl_above_floor, name, a, b),
                kl=(kl := kl_change(first, second)) and _above_floors(kl, kl_above_floor, name, a, b),
                same_scores=stats.same_scores(first, second),
                bytes=b.files[name].n_bytes / a.files[name].n_bytes - 1,
                time=relative_time(a, b, name, reference) if reference and name != reference else None,
            )
        )
    if not found:
        raise BenchError("cannot compare: no recipe has all its windows in both runs; finish them first")
    return found


def _above_floors(change: Estimate, above: Callable[..., Estimate], name: str, *runs: Run) -> Estimate:
    """A change of a file between runs, which is none where it is within the floor that one of them measured."""
    return max((above(change, run, name) for run in runs), key=lambda e: e.floor)


def comparison_frame(a: Run, b: Run) -> pd.DataFrame:
    """Those changes as numbers."""
    rows = [
        {
            "recipe": c.recipe,
            **interval("ppl_change", c.ppl),
            **interval("kl_change", c.kl),
            "same_scores": c.same_scores,
            "bytes_change": c.bytes,
            **interval("time_ratio", c.time),
        }
        for c in changes(a, b)
    ]
    return pd.DataFrame(rows)


def comparison_table(a: Run, b: Run) -> pd.DataFrame:
    """Those changes as text, with intervals and what they allow to say; without columns of time where a run has none."""
    elsewhere = MISSING if same_machine(a, b) else "different machines"
    found = changes(a, b)
    # what is equal to the last digit is no comparison
    quality = verdicts([None if c.same_scores else c.ppl for c in found], "B better", "B worse")
    speed = time_verdicts([c.time for c in found])
    rows = [
        {
            "Recipe": c.recipe,
            "Δ PPL [95 %]": with_interval(c.ppl, percent),
            "Perplexity": stats.SAME_SCORES if c.same_scores else quality[i],
            "Δ KL [95 %]": with_interval(c.kl, divergence_change) if c.kl else MISSING,
            "Δ Size": percent(c.bytes),
            "Time ratio to reference [95 %]": with_interval(c.time, "{:.3f}".format) if c.time else MISSING,
            "Time": speed[i] if c.time else elsewhere,
        }
        for i, c in enumerate(found)
    ]
    of_speed = ["Time ratio to reference [95 %]", "Time"] if untimed(A=a, B=b) else []
    return pd.DataFrame(rows).drop(columns=of_speed)
