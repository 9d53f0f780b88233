"""Error propagation from records: how the error of hidden states grows with depth, and DynamicGate against Standard."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.formats import percent
from bench.measures.propagation.runs import propagation_of
from bench.records.families import GATED, mixed_pairs, pairs
from bench.records.resolution import code_bits
from bench.records.run import Run
from bench.statistics.estimates import Estimate, mean_over_windows
from bench.statistics.verdicts import shown, verdicts, with_interval, with_verdicts

KEY = """\
Key
- Error: relative error of the residual stream after a layer, |h - h_ref| / |h_ref|, mean over tokens and windows; h_ref: the reference's on the same tokens
- Growth: how many times larger the error is after the last layer than after the first quarter of them
- Attention, feed-forward: the same of what the attentions and the feed-forward networks add, mean over layers"""


#: Change of "error propagation" against standard files of 1 and 2 bits that the method's author claims.
CLAIMED = -0.38
#: The claim is about files of so many bits at most.
_CLAIMED_BITS = 2
_SOURCE = "The claim stands on the model cards of the published IQ-DynamicGate files (by Mungert, on the Hugging Face hub), which do not say how it was measured."


def errors(run: Run, recipe: str, part: str = "residual") -> NDArray[np.float64]:
    """(windows, layers) relative errors of a recipe, NaN where there is none; no row when not all windows are there."""
    found = propagation_of(run).get(recipe, {})
    if len(found) < run.windows:
        return np.empty((0, 0))
    return np.array([getattr(r, part) for r in found.values()], np.float64)


def quarter(n_layers: int) -> int:
    """Index of the last layer of the first quarter."""
    return max(math.ceil(n_layers / 4) - 1, 0)


def growth(by_layer: NDArray[np.float64], looks: int) -> Estimate:
    """Error after the last layer / error after the first quarter, the mean of windows' logarithms taken back."""
    first, last = by_layer[:, quarter(by_layer.shape[1])], by_layer[:, -1]
    return mean_over_windows(np.log(last / first), looks=looks).map(math.exp)


def _mean_of_known(by_layer: NDArray[np.float64]) -> str:
    """Nothing where no layer has this part, as in a model without attention."""
    known = by_layer[~np.isnan(by_layer)]
    return f"{known.mean():.3f}" if known.size else ""


def propagation_table(run: Run) -> pd.DataFrame:
    """Every recipe's error along the depth; empty without any."""
    rows, looks = [], len(run.identity.looks)
    for name in run.files:
        residual = errors(run, name)
        if not residual.size:
            continue
        n = residual.shape[1]
        marks = {"after 25 %": quarter(n), "50 %": n // 2 - 1, "75 %": n - quarter(n) - 2}
        parts = {p: _mean_of_known(errors(run, name, p)) for p in ("attention", "feed_forward")}
        rows.append(
            {"Recipe": name}
            | {f"Error {where}": f"{residual[:, max(i, 0)].mean():.3f}" for where, i in marks.items()}
            | {
                "Last layer [95 %]": with_interval(
                    mean_over_windows(residual[:, -1], "logarithm", looks), "{:.3f}".format
                ),
                "Growth [95 %]": with_interval(growth(residual, looks), "{:.2f}".format),
                "Attention": parts["attention"],
                "Feed-forward": parts["feed_forward"],
            }
        )
    return pd.DataFrame(rows)


def last_layer_change(std: NDArray[np.float64], mixed: NDArray[np.float64], looks: int) -> Estimate:
    """Relative change of the error after the last layer, paired by window, out of (windows, layers) errors of both."""
    return mean_over_windows(np.log(mixed[:, -1] / std[:, -1]), looks=looks).map(lambda x: math.exp(x) - 1)


def claim(run: Run) -> str:
    """What the method's author claims, where, and what this run measured of it; empty for a run that did not measure it."""
    found: dict[str, list[Estimate]] = {}
    looks = len(run.identity.looks)
    for family in GATED:
        for pair in pairs(run, family):
            std, mixed = errors(run, pair.standard or ""), errors(run, pair.gated or "")
            if std.size and mixed.size and code_bits(pair.base) <= _CLAIMED_BITS:
                found.setdefault(family, []).append(last_layer_change(std, mixed, looks))
    if not found:
        return ""
    ranges = []
    for family, of in found.items():
        ends = dict.fromkeys(percent(pick(e.value for e in of)) for pick in (max, min))
        ranges.append(f"{' to '.join(ends)} for {family} ({len(of)} type{'s' if len(of) > 1 else ''})")
    every = [e for of in found.values() for e in of]
    reach = [e for e, is_shown in zip(every, shown(every, CLAIMED), strict=True) if is_shown and e.value < CLAIMED]
    total = len(every)
    return (
        f"The method's author claims {-100 * CLAIMED:.0f} % less error propagation than in standard files of 1 and 2 bits. {_SOURCE} "
        f"Measured here is the relative error of the residual stream after the last layer, paired with Standard of the same "
        f"type: {', and '.join(ranges)}. A reduction beyond the claim is shown in {len(reach)} of {total}."
    )


def paired_propagation_table(run: Run) -> pd.DataFrame:
    """Mixed recipes against Standard of the same base: changes of the error and of its growth, paired by window."""
    rows, lasts, looks = [], [], len(run.identity.looks)
    for pair in mixed_pairs(run):
        std, gated = errors(run, pair.standard or ""), errors(run, pair.gated or "")
        if not (std.size and gated.size):
            continue
        last = last_layer_change(std, gated, looks)
        lasts.append(last)
        mean = mean_over_windows(np.log(gated.mean(axis=1) / std.mean(axis=1)), looks=looks).map(
            lambda x: math.exp(x) - 1
        )
        q = quarter(std.shape[1])
        ratio = np.log(gated[:, -1] / gated[:, q]) - np.log(std[:, -1] / std[:, q])
        rows.append(
            {
                "Recipe": pair.gated,
                "Against": pair.standard,
                "Δ error, last layer [95 %]": with_interval(last, percent),
                "Verdict": "",
                "Δ error, mean of layers [95 %]": with_interval(mean, percent),
                "Δ growth [95 %]": with_interval(
                    mean_over_windows(ratio, looks=looks).map(lambda x: math.exp(x) - 1), percent
                ),
            }
        )
    return with_verdicts(rows, Verdict=verdicts(lasts, "smaller", "larger"))
