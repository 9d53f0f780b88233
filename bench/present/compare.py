"""Two runs side by side: refused when their figures do not compare, paired window by window when they do.

Scores are the same on every machine with the same build of the engine, so runs of different machines compare but for speed.
"""

from __future__ import annotations

import pandas as pd

from bench.core.errors import BenchError
from bench.core.formats import MISSING, percent
from bench.measures.columns import Column, Columns
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.verdicts import time_verdict, verdict, with_interval

#: What may differ between runs that are compared: it is what one compares them for.
_MAY_DIFFER = ("importance", "machine.")
#: What leaves the speed out: scores are the same on every CPU, times are not.
_NO_SPEED = "machine."


COLUMNS = Columns(
    "compared",
    "`compare_runs(...)`",
    "One row a recipe of both runs, as text.",
    (
        Column("Recipe", "name of a recipe that both runs have"),
        Column("Δ PPL [95 %]", "change of perplexity from the first run to the second, paired by window", "%"),
        Column(
            "Perplexity",
            "what the interval allows to say: B is the second run; or that every window has the same score",
        ),
        Column("Δ KL [95 %]", "change of the mean KL divergence from the reference", "nats"),
        Column("Δ Size", "change of the file's size", "%"),
        Column(
            "Time ratio to reference [95 %]",
            "time for a window, each relative to its run's reference in the same pass: second run / first",
            "ratio",
        ),
        Column("Time", "what that interval allows to say; on different machines nothing"),
    ),
)


def check_comparable(a: Run, b: Run) -> None:
    """Raise BenchError that names every field that keeps the runs from being compared, with both values."""
    different = [d for d in a.identity.differences(b.identity) if not d.startswith(_MAY_DIFFER)]
    if different:
        raise BenchError(f"cannot compare: {'; '.join(different)}")
    if not [name for name in a.files if name in b.files and name != a.reference]:
        raise BenchError(f"cannot compare: no recipe is in both runs ({', '.join(a.files)} and {', '.join(b.files)})")


def same_machine(a: Run, b: Run) -> bool:
    """Whether the times of two runs compare."""
    return not any(d.startswith(_NO_SPEED) for d in a.identity.differences(b.identity))


def comparison_notes(a: Run, b: Run, table: pd.DataFrame) -> list[str]:
    """What a reader must know beside the table, a sentence each."""
    equal = int((table["Perplexity"] == stats.SAME_SCORES).sum())
    said = [f"{equal} of {len(table)} files have the same score in every window, to the last digit."] if equal else []
    if not same_machine(a, b):
        said.append(
            f"A was measured on {a.identity.machine}, B on {b.identity.machine}. Scores compare all the same; speed does not "
            "and is left out."
        )
    return said


def comparison_table(a: Run, b: Run) -> pd.DataFrame:
    """Every recipe of both runs: how B differs from A, paired by window, with intervals and what they allow to say.

    Timings of two runs are not interleaved, so a recipe's are taken relative to the reference's of the same pass: what
    the machine as a whole did between the runs cancels out.
    """
    check_comparable(a, b)
    timed = same_machine(a, b)
    for name in a.files.keys() & b.files.keys():
        rules = a.files[name].rules, b.files[name].rules
        if None not in rules and rules[0] != rules[1]:
            raise BenchError(f"cannot compare: {name} stands for other rules in one run than in the other")
    rows = []
    for name in a.files:
        first, second = windows_of(a).results(name), windows_of(b).results(name)
        if not (first and second):
            continue
        change, kl, ratio = stats.perplexity_change(first, second), kl_change(first, second), None
        if timed and a.reference and b.reference and name != a.reference:
            (ref_a, in_a), (ref_b, in_b) = (
                windows_of(a).same_sitting(a.reference, name),
                windows_of(b).same_sitting(b.reference, name),
            )
            ratio = stats.relative_time_ratio(in_a, in_b, ref_a, ref_b)
        rows.append(
            {
                "Recipe": name,
                "Δ PPL [95 %]": with_interval(change, percent),
                "Perplexity": stats.SAME_SCORES
                if stats.same_scores(first, second)
                else verdict(change, "B better", "B worse"),
                "Δ KL [95 %]": with_interval(kl, "{:+.4f}".format) if kl else MISSING,
                "Δ Size": percent(b.files[name].n_bytes / a.files[name].n_bytes - 1),
                "Time ratio to reference [95 %]": with_interval(ratio, "{:.3f}".format) if ratio else MISSING,
                "Time": time_verdict(ratio) if ratio else MISSING if timed else "different machines",
            }
        )
    if not rows:
        raise BenchError("cannot compare: no recipe has all its windows in both runs; finish them first")
    return pd.DataFrame(rows)
