"""Recall from records: what a repetition gains, against the reference's, paired by passage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.formats import MISSING
from bench.engine.settings import PLAIN, Cache
from bench.measures.frames import frame, interval
from bench.measures.recall.columns import RECALL
from bench.measures.recall.jobs import Recalled
from bench.measures.recall.runs import recall_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate, mean_over_windows
from bench.statistics.verdicts import TOGETHER, verdicts, with_interval

KEY = f"""\
Key
- Distance: tokens between a passage of 64 tokens and its repetition; NLL first, again: mean over the passages' tokens where they stand first, and where they come again, nats a token
- Gain: how much less surprising the repetition is, in nats a token; a file that does not look back gains nothing
- Δ gain: minus the reference's with a cache in f16, paired by passage; below 0, less is recalled
- {TOGETHER}"""


def gains(found: list[Recalled]) -> NDArray[np.float64]:
    """Of each passage: mean NLL where it stands first minus where it comes again, in nats a token."""
    return np.array([(r.first - r.second) / r.tokens for r in found])


def _rows(run: Run) -> list[tuple[str, Cache, int, list[Recalled], Estimate, Estimate | None]]:
    """(file, cache, distance, passages, gain, its change against the reference's)."""
    known, looks = recall_of(run), len(run.identity.looks)
    reference = known.get(run.reference or "", {}).get(PLAIN, {})
    rows = []
    distances = sorted({d for caches in known.values() for by_distance in caches.values() for d in by_distance})
    for distance in distances:
        for name, caches in known.items():
            for cache, by_distance in caches.items():
                if not (found := by_distance.get(distance, [])):
                    continue
                own, base = gains(found), reference.get(distance, [])
                is_base = name == run.reference and cache == PLAIN
                change = None
                if len(base) == len(found) and not is_base:
                    change = mean_over_windows(own - gains(base), looks=looks)
                rows.append((name, cache, distance, found, mean_over_windows(own, looks=looks), change))
    return rows


def recall_frame(run: Run) -> pd.DataFrame:
    """One row a file, cache and distance, in numbers."""
    rows = []
    for name, cache, distance, found, gain, change in _rows(run):
        row: dict[str, object] = {"recipe": name, "k": cache.k, "v": cache.v, "distance": distance}
        row |= {"passages": len(found), "nll_first": _nll(found, "first"), "nll_again": _nll(found, "second")}
        rows.append(row | interval("gain", gain) | interval("gain_change", change))
    return frame(RECALL, rows)


def recall_table(run: Run) -> pd.DataFrame:
    """The same as text; empty without any."""
    rows, changes = [], []
    for name, cache, distance, found, gain, change in _rows(run):
        changes.append(change)
        rows.append(
            {
                "Recipe": name,
                "Cache": cache.name,
                "Distance": str(distance),
                "NLL first": f"{_nll(found, 'first'):.3f}",
                "NLL again": f"{_nll(found, 'second'):.3f}",
                "Gain [95 %]": with_interval(gain, "{:.3f}".format),
                "Δ gain [95 %]": MISSING if change is None else with_interval(change, "{:+.3f}".format),
            }
        )
    if not rows:
        return pd.DataFrame()
    return pd.DataFrame(rows).assign(Verdict=verdicts(changes, "less recalled", "more recalled"))


def _nll(found: list[Recalled], which: str) -> float:
    total: float = sum(getattr(r, which) for r in found)
    return total / sum(r.tokens for r in found)
