"""Recipes held against others of the same size: automatic ones against what they were given the size of, and random
controls against the choice that they are controls of. Out of records, paired by window."""

from __future__ import annotations

import pandas as pd

from bench import stats
from bench.agreement import kl_change
from bench.results import Run
from bench.tables import MISSING, divergence_change, percent, size, verdict, with_interval

KEY = """\
Key
- Δ: of the recipe against the other, paired by window; less divergence from the reference is better
- A recipe with a # is a control: the measured sensitivities of the layers' tensors are dealt to them at random, the rest (solver, size, number of assignments tried) is the same
- Types were chosen on the calibration text"""


def equal_size_table(run: Run) -> pd.DataFrame:
    """A row for every recipe that names another to be held against; empty without any."""
    rows = []
    for name, file in run.files.items():
        against = file.choice.against if file.choice else None
        if against is None or against not in run.files:
            continue
        found, other = run.results(name), run.results(against)
        if not (found and other):
            continue
        kl, ppl = kl_change(other, found), stats.perplexity_change(other, found)
        rows.append(
            {
                "Recipe": name,
                "Against": against,
                "Size": size(file.n_bytes),
                "Δ Size": percent(file.n_bytes / run.files[against].n_bytes - 1),
                "Δ KL [95 %]": with_interval(kl, divergence_change) if kl else MISSING,
                "Δ PPL [95 %]": with_interval(ppl, percent),
                "Verdict": verdict(kl, "less divergence", "more divergence") if kl else MISSING,
            }
        )
    return pd.DataFrame(rows)
