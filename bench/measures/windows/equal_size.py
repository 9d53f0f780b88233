"""Recipes compared with others of the same size: automatic recipes with the recipe whose size they were given, and random
controls with the choice that they control. The comparisons are made from records, paired by window.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pandas as pd

from bench.core.formats import MISSING, divergence_change, markdown, percent, size
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change
from bench.measures.windows.floor import kl_above_floor, ppl_above_floor
from bench.measures.windows.runs import windows_of
from bench.records.record import FileRecord
from bench.records.resolution import UNTOLD, resolution
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import TOGETHER, verdicts, with_interval

_KEY = f"""\
Key
- Δ: of the recipe against the other, paired by window; less divergence from the reference is better
- A control, marked by #, has the measured sensitivities of the layers' tensors dealt to them at random; the rest (solver, size, number of assignments tried) is the same
- Types were chosen on the calibration text
- {TOGETHER}"""


@dataclass(frozen=True)
class _Comparison:
    """A recipe with the one that it is held against, changes of KL divergence (nats) and perplexity (ratio - 1).
    can_be_told: whether the reference can judge both; verdict: what the change of divergence allows to say, beside all others."""

    file: FileRecord
    against: FileRecord
    kl: Estimate | None
    ppl: Estimate
    can_be_told: bool
    verdict: str = MISSING

    @property
    def is_control(self) -> bool:
        return "random" in self.file.family


def _comparisons(run: Run) -> list[_Comparison]:
    found = []
    for name, file in run.files.items():
        against = file.choice.against if file.choice else None
        if against is not None and against in run.files:
            this, other = windows_of(run).results(name), windows_of(run).results(against)
            if this and other:
                kl, ppl = kl_change(other, this), stats.perplexity_change(other, this)
                changes = kl and kl_above_floor(kl, run, name, against), ppl_above_floor(ppl, run, name, against)
                told = resolution(run).beyond.isdisjoint((name, against))
                found.append(_Comparison(file, run.files[against], *changes, told))
    words = verdicts([c.kl if c.can_be_told else None for c in found], "less divergence", "more divergence")
    return [replace(c, verdict=word if c.can_be_told else UNTOLD) for c, word in zip(found, words, strict=True)]


def equal_size_table(run: Run, *, against: str | None = None) -> pd.DataFrame:
    """A row for every recipe that names another to be held against, controls last, by size; empty without any.

    against: only what is held against recipes of this family.
    """
    rows = [
        {
            "Recipe": c.file.recipe,
            "Against": c.against.recipe,
            "Size": size(c.file.n_bytes),
            "Δ Size": percent(c.file.n_bytes / c.against.n_bytes - 1),
            "Δ KL [95 %]": with_interval(c.kl, divergence_change) if c.kl else MISSING,
            "Δ PPL [95 %]": with_interval(c.ppl, percent),
            "Verdict": c.verdict,
        }
        for c in sorted(_comparisons(run), key=lambda c: (c.is_control, c.file.n_bytes))
        if against in (None, c.against.family)
    ]
    return pd.DataFrame(rows)


def equal_size_summary(run: Run) -> list[str]:
    """How many of the comparisons came out how, a sentence for choices and one for controls, and how many the reference cannot tell."""
    compared = [c for c in _comparisons(run) if c.kl is not None]
    found = [c for c in compared if c.can_be_told]
    said = []
    for what, chosen in (
        ("Automatic choices against a recipe of the same size", [c for c in found if not c.is_control]),
        ("Random controls against the choice that they control", [c for c in found if c.is_control]),
    ):
        if chosen:
            verdicts = Counter(c.verdict for c in chosen)
            listed = ", ".join(f"{v} in {n}" for v, n in verdicts.most_common())
            said.append(f"{what}: {listed} of {len(chosen)} comparisons")
    if untold := len(compared) - len(found):
        s = "s" if untold > 1 else ""
        said.append(f"{untold} more comparison{s} cannot be told. {resolution(run).sentence}")
    return said


def equal_size_text(run: Run, *, against: str | None = None) -> str:
    """The table of recipes held against others of their size, with what all of it comes to.

    against: show only what is held against recipes of this family, as README does.
    """
    summary = "\n".join(f"- {s}" for s in equal_size_summary(run))
    table = equal_size_table(run, against=against)
    shown = f"The {len(table)} comparisons with a recipe of the family {against}:\n\n" if against else ""
    return "\n\n".join([summary, shown + markdown(table), equal_size_key(run)])


def equal_size_key(run: Run) -> str:
    """What the table's columns and marks mean."""
    compared = (name for c in _comparisons(run) for name in (c.file.recipe, c.against.recipe))
    return "\n".join(filter(None, [_KEY, resolution(run).key(compared)]))
