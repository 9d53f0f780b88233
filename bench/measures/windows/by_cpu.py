"""Speeds of a run whose sites have CPUs of several models: a row for each file and model."""

from __future__ import annotations

import pandas as pd

from bench.core.formats import MISSING
from bench.measures.windows import statistics as stats
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate
from bench.statistics.verdicts import time_verdicts, with_interval

KEY = """\
Key
- Passes: windows that were timed on CPUs of this model
- Window: seconds for one window of {window} tokens; pp: prompt processing, tg: token generation, in tokens/s
- Time ratio: of a window, against the reference in the same passes; above 1 is slower"""


def by_cpu_table(run: Run) -> pd.DataFrame:
    """As text; empty where all CPUs are of one model, and without speeds."""
    windows = windows_of(run)
    if len(windows.cpus) < 2 or not run.identity.speeds:
        return pd.DataFrame()
    rows: list[dict[str, object]] = []
    ratios: list[Estimate | None] = []
    for name in run.files:
        for cpu in windows.cpus:
            if found := stats.timed(windows.on_cpu(name, cpu)):
                speed = stats.speed(found, run.identity.settings)
                tokens, ratio = speed.generation, _against_reference(run, name, cpu)
                ratios.append(ratio)
                rows.append(
                    {
                        "Recipe": name,
                        "CPU": cpu,
                        "Passes": str(len(found)),
                        "Window [95 %]": with_interval(speed.window, "{:.2f} s".format),
                        "pp": f"{speed.prompt:.0f}",
                        "tg [95 %]": MISSING if tokens is None else with_interval(tokens, "{:.1f}".format),
                        "Time ratio [95 %]": MISSING if ratio is None else with_interval(ratio, "{:.3f}".format),
                    }
                )
    words = [MISSING if r is None else word for r, word in zip(ratios, time_verdicts(ratios), strict=True)]
    return pd.DataFrame(rows).assign(Verdict=words)


def _against_reference(run: Run, name: str, cpu: str) -> Estimate | None:
    if run.reference is None or name == run.reference:
        return None
    return stats.time_ratio(*windows_of(run).same_sitting(run.reference, name, cpu=cpu))
