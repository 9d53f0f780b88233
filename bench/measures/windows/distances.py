"""What else the logits tell of the distance from the reference: the reverse divergence, how much of a draft the reference would keep, the
divergence by how sure the reference was, and its mean over kinds of prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bench.core.formats import MISSING, divergence_text, share
from bench.measures.frames import frame, interval
from bench.measures.windows import columns
from bench.measures.windows.agreement import kl_by_kind, kl_estimate
from bench.measures.windows.jobs import SURETIES, KindSums, WindowResult
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import layout
from bench.records.run import Run
from bench.statistics.estimates import Estimate, Scale, mean_of
from bench.statistics.layout import Layout
from bench.statistics.verdicts import with_interval

KEY = """\
Key
- KL: mean divergence of the file's distribution from the reference's, KL(reference || file), in nats; reverse KL: KL(file || reference), which is large where the file is sure of what the reference rules out
- Kept drafts: expected share of drafted tokens that are kept where the file drafts and the reference judges (speculative decoding), 1 minus the total variation
- Macro KL: mean over kinds of prompt of the KL of each, whatever their share of the text"""

SURETY_KEY = """\
Key
- Columns: the largest probability that the reference gives any token, and the share of the scored tokens where it lies there; figures: mean KL over these, in nats [95 %]"""


def _mean(windows: Sequence[WindowResult], pick: Callable[[KindSums], float | None], scale: Scale) -> Estimate | None:
    """Mean over tokens of a sum by kind; None where a window lacks it."""
    found = [(pick(w.by_kind[k]), w.by_kind[k].tokens) for w in windows for k in sorted(w.by_kind)]
    values = np.array([v / n for v, n in found if v is not None], np.float64)
    if len(values) < len(found) or not found:
        return None
    return mean_of(values, layout(windows), scale if values.min() > 0 else "plain")


def reverse_kl(windows: Sequence[WindowResult]) -> Estimate | None:
    """KL(file || reference) in nats."""
    return _mean(windows, lambda s: s.reverse_kl, "logarithm")


def overlap(windows: Sequence[WindowResult]) -> Estimate | None:
    """Mean over tokens of the sum of min(p, p_ref): the expected share of drafts that the reference keeps."""
    return _mean(windows, lambda s: s.overlap, "odds")


def kl_by_surety(windows: Sequence[WindowResult]) -> list[tuple[float, Estimate]]:
    """(share of tokens, mean KL) by how sure the reference was, from the least sure; empty where that is not on record."""
    if not windows or any(w.by_surety is None for w in windows):
        return []
    tokens, kl = (
        np.array([[getattr(s, name) for s in w.by_surety or ()] for w in windows], np.float64)
        for name in ("tokens", "kl")
    )
    found = []
    for i in range(SURETIES):
        there = np.flatnonzero(tokens[:, i])
        estimate = Estimate(float("nan"))
        if len(there):
            values, weights = kl[there, i] / tokens[there, i], tokens[there, i]
            units = Layout.of_parts(there.tolist(), [""] * len(there), weights.astype(int).tolist(), windows[0].looks)
            estimate = mean_of(values, units, "logarithm" if values.min() > 0 else "plain")
        found.append((float(tokens[:, i].sum() / tokens.sum()), estimate))
    return found


def _measured(run: Run) -> dict[str, list[WindowResult]]:
    """Files that have these distances in all their windows."""
    found = {n: windows for n in run.files if (windows := windows_of(run).results(n))}
    return {n: windows for n, windows in found.items() if reverse_kl(windows) is not None}


def macro_kl(windows: Sequence[WindowResult]) -> float:
    """Mean over kinds of prompt of the mean KL of each, in nats."""
    return float(np.mean(list(kl_by_kind(windows).values())))


def distances_frame(run: Run) -> pd.DataFrame:
    """One row a file, in numbers."""
    rows = []
    for name, windows in _measured(run).items():
        row: dict[str, object] = {"recipe": name, **interval("kl", kl_estimate(windows))}
        row |= interval("reverse_kl", reverse_kl(windows))
        row |= {**interval("overlap", overlap(windows)), "macro_kl": macro_kl(windows)}
        for i, (of_tokens, kl) in enumerate(kl_by_surety(windows)):
            row |= {f"tokens_surety_{i}": of_tokens, **interval(f"kl_surety_{i}", kl)}
        rows.append(row)
    return frame(columns.DISTANCES, rows)


def distances_table(run: Run) -> pd.DataFrame:
    """The same as text, without how sure the reference was; empty for runs of an early version."""
    rows = []
    for name, windows in _measured(run).items():
        kl, reverse, kept = kl_estimate(windows), reverse_kl(windows), overlap(windows)
        rows.append(
            {
                "Recipe": name,
                "KL [95 %]": MISSING if kl is None else with_interval(kl, divergence_text),
                "Reverse KL [95 %]": MISSING if reverse is None else with_interval(reverse, divergence_text),
                "Kept drafts [95 %]": MISSING if kept is None else with_interval(kept, share),
                "Macro KL": divergence_text(macro_kl(windows)),
            }
        )
    return pd.DataFrame(rows)


def surety_table(run: Run) -> pd.DataFrame:
    """KL by how sure the reference was; empty for runs of an early version."""
    rows = []
    for name, windows in _measured(run).items():
        by_surety = kl_by_surety(windows)
        figures = {_range(i, of): with_interval(kl, divergence_text) for i, (of, kl) in enumerate(by_surety)}
        rows.append({"Recipe": name} | figures)
    return pd.DataFrame(rows)


def _range(i: int, of_tokens: float) -> str:
    return f"{100 * i // SURETIES}-{100 * (i + 1) // SURETIES} % ({share(of_tokens)} of tokens)"
