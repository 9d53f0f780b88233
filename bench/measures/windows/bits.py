"""Bits that a file takes for a byte and for a word of the text: comparable across vocabularies, where perplexity of a token is not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.core.formats import MISSING
from bench.measures.frames import frame, interval
from bench.measures.windows import columns
from bench.measures.windows.jobs import WindowResult
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate, mean_of
from bench.statistics.layout import Layout
from bench.statistics.verdicts import with_interval

KEY = """\
Key
- Bits/byte, bits/word: -log2 of the probability that a file gives the scored text, for each of its bytes (UTF-8) and words (between white space); lower is better. They compare between models of other vocabularies on the same text, which perplexities do not; windows of other tokens begin elsewhere in it, and `--score all` leaves the least out"""


def bits_per(windows: Sequence[WindowResult], unit: str) -> Estimate | None:
    """Mean over the units `n_bytes` or `n_words` of the scored text; None where they are not on record."""
    parts = [
        (i, kind, w.by_kind[kind].nll / math.log(2), getattr(w.by_kind[kind], unit))
        for i, w in enumerate(windows)
        for kind in sorted(w.by_kind)
    ]
    if any(n is None for *_, n in parts):
        return None
    parts = [part for part in parts if part[-1]]  # a part of special tokens alone has no text
    if not parts:
        return None
    values = np.array([bits / n for _, _, bits, n in parts])
    looks = max(w.looks for w in windows)
    layout = Layout.of_parts([i for i, *_ in parts], [k for _, k, *_ in parts], [n for *_, n in parts], looks)
    return mean_of(values, layout, "logarithm" if values.min() > 0 else "plain")


def _measured(run: Run) -> dict[str, list[WindowResult]]:
    found = {n: windows for n in run.files if (windows := windows_of(run).results(n))}
    return {n: windows for n, windows in found.items() if bits_per(windows, "n_bytes") is not None}


def bits_frame(run: Run) -> pd.DataFrame:
    """One row a file, in numbers."""
    rows = []
    for name, windows in _measured(run).items():
        row: dict[str, object] = {"recipe": name, **interval("bits_per_byte", bits_per(windows, "n_bytes"))}
        row |= interval("bits_per_word", bits_per(windows, "n_words"))
        rows.append(row | {unit: _total(windows, unit) for unit in ("n_bytes", "n_words")})
    return frame(columns.BITS, rows)


def _total(windows: Sequence[WindowResult], unit: str) -> int:
    return sum(getattr(s, unit) or 0 for w in windows for s in w.by_kind.values())


def bits_table(run: Run) -> pd.DataFrame:
    """The same as text; empty for runs of an early version."""

    def cell(windows: Sequence[WindowResult], unit: str) -> str:
        found = bits_per(windows, unit)
        return MISSING if found is None else with_interval(found, "{:.4f}".format)

    return pd.DataFrame(
        [
            {
                "Recipe": name,
                "Bits/byte [95 %]": cell(windows, "n_bytes"),
                "Bits/word [95 %]": cell(windows, "n_words"),
                "Bytes": f"{_total(windows, 'n_bytes'):,}",
                "Words": f"{_total(windows, 'n_words'):,}",
            }
            for name, windows in _measured(run).items()
        ]
    )
