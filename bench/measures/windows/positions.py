"""Figures by position in the window: where does a file begin to drift from the reference?

The scored tokens of a window are told of in parts of equal length, and windows are the units of every interval. Other positions hold other
text, which counts as noise between windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.formats import divergence_text, share
from bench.measures.frames import frame, interval
from bench.measures.windows import columns
from bench.measures.windows.jobs import WindowResult, unpack
from bench.measures.windows.runs import windows_of
from bench.measures.windows.statistics import paired
from bench.records.run import Run
from bench.statistics.estimates import Estimate, Scale, exp, mean_over_windows
from bench.statistics.verdicts import TOGETHER, verdicts, with_interval, with_verdicts

#: Parts of the scored tokens of a window, for programs and plots.
PARTS = 8
#: Parts of which the table has the first and the last.
_SHOWN = 4

KEY = f"""\
Key
- KL, RMS Δp: as above, over the tokens at these positions of the window only: the first and the last quarter of those that are scored
- Last / first: KL of the last over that of the first, paired by window; above 1, the file drifts away from the reference along the window
- {TOGETHER}"""


@dataclass(frozen=True)
class ByPosition:
    """Means over tokens of each part of each window, (windows, parts). kl: nats; p_change: squares of the change of the correct token's
    probability; nll_change: nats, of NLL minus the reference's. first, last: positions of each part's tokens; looks: of the run."""

    kl: NDArray[np.float64]
    p_change: NDArray[np.float64]
    nll_change: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    looks: int

    def mean(self, values: NDArray[np.float64], scale: Scale = "plain") -> list[Estimate]:
        """Of each part, over windows."""
        return [_mean(part, scale, self.looks) for part in values.T]

    @property
    def growth(self) -> Estimate:
        """Divergence of the last part over that of the first."""
        both = self.kl[:, [0, -1]]
        if both.min() <= 0:
            return Estimate(math.nan)
        return mean_over_windows(np.log(both[:, 1] / both[:, 0]), looks=self.looks).map(exp)


def _mean(values: NDArray[np.float64], scale: Scale, looks: int) -> Estimate:
    """Divergences may be zero or below by rounding, where a file does not differ."""
    return mean_over_windows(values, scale if values.min() > 0 else "plain", looks)


def by_position(run: Run, name: str, parts: int = PARTS) -> ByPosition | None:
    """None for the reference, for a file that was not compared token by token, where windows are missing, and where the scored tokens stand
    elsewhere in each window."""
    if run.identity.settings.scored == "written":
        return None
    reference, windows = windows_of(run).results(run.reference), windows_of(run).results(name)
    if not reference or not windows or name == run.reference:
        return None
    reference, windows = paired(reference, windows)
    found = [_of_window(a, b, parts) for a, b in zip(reference, windows, strict=True)]
    if not found or None in found:
        return None
    kl, p_change, nll_change = (np.array([w[i] for w in found if w is not None]) for i in range(3))
    lengths = [len(a) for a in np.array_split(np.arange(sum(s.tokens for s in windows[0].by_kind.values())), parts)]
    last = run.identity.settings.first_scored + np.cumsum(lengths, dtype=np.int64)
    return ByPosition(kl, p_change, nll_change, last - lengths + 1, last, windows[0].looks)


def _of_window(reference: WindowResult, window: WindowResult, parts: int) -> tuple[list[float], ...] | None:
    before, data = reference.tokens, window.tokens
    if before is None or data is None or data.kl is None or data.p_change is None:
        return None

    def means(values: NDArray[np.float64]) -> list[float]:
        return [float(part.mean()) for part in np.array_split(values, parts)]

    kl, p_change, nll, base = (
        unpack(text, np.float32).astype(np.float64) for text in (data.kl, data.p_change, data.nll, before.nll)
    )
    return (means(kl), means(p_change**2), means(nll - base)) if len(kl) >= parts else None


def positions_frame(run: Run) -> pd.DataFrame:
    """One row a recipe and part of the window, in numbers."""
    rows = []
    for name in run.files:
        if (found := by_position(run, name)) is None:
            continue
        kl, changes = found.mean(found.kl, "logarithm"), found.mean(found.nll_change)
        squares = found.mean(found.p_change, "logarithm")
        for i, (first, last) in enumerate(zip(found.first, found.last, strict=True)):
            row = {"recipe": name, "first": int(first), "last": int(last)} | interval("kl", kl[i])
            row |= interval("p_change_rms", squares[i].map(math.sqrt)) | interval("nll_change", changes[i])
            rows.append(row)
    return frame(columns.POSITIONS, rows)


def positions_table(run: Run) -> pd.DataFrame:
    """The first and the last quarter of the scored tokens of every file, and how the divergence grows between them; empty without any."""
    rows: list[dict[str, object]] = []
    growths: list[Estimate] = []
    for name in run.files:
        if (found := by_position(run, name, _SHOWN)) is None:
            continue
        kl, squares = found.mean(found.kl, "logarithm"), found.mean(found.p_change, "logarithm")
        row: dict[str, object] = {"Recipe": name}
        ends: Sequence[int] = (0, _SHOWN - 1)
        for i in ends:
            row[f"KL at {found.first[i]}-{found.last[i]} [95 %]"] = with_interval(kl[i], divergence_text)
        for i in ends:
            row[f"RMS Δp at {found.first[i]}-{found.last[i]}"] = share(math.sqrt(squares[i].value))
        rows.append(row | {"Last / first [95 %]": with_interval(found.growth, "{:.2f}".format), "Verdict": ""})
        growths.append(found.growth.map(lambda x: x - 1))
    return with_verdicts(rows, Verdict=verdicts(growths, "falls", "grows"))
