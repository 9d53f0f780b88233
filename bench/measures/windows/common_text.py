"""The text that two runs of different models scored, in stretches that both tokenized: what bits per byte are compared on.

Vocabularies cut a text into other tokens, and windows of as many tokens begin and end elsewhere:

    text      t h e   t i d e   u n d e r   a   s t o n e
    scored A          |tide|  unde|r a| st|                  one window of A
    scored B        |  tid|e| under|  a| stone|              one window of B
    common                  |             |                  the stretch from the first to the last edge that both have

Every edge of a token that both have is a place where both are cut, so between two such edges the tokens of A and those of B spell the same
bytes, and -log2 of their probabilities are of the same text: nothing is shared out between tokens. What only one of them scored, and what
lies between the end of a window and the next edge that both have, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.measures.windows.floor import floors_of
from bench.measures.windows.jobs import WindowResult, unpack
from bench.measures.windows.records import Span, SpansRecord
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate, mean_of
from bench.statistics.layout import Layout


class ScoredText:
    """The scored tokens of a run in the order of the text. label: what the run is called in errors.

    begins, ends: byte offsets in the text, (tokens,); windows, kinds: index of the window and kind of prompt of each. Raises
    BenchError for a run that does not tell.
    """

    def __init__(self, run: Run, label: str) -> None:
        self.run, self.label = run, label
        record = next(reversed(run.of(SpansRecord)), None)
        if record is None:
            raise BenchError(
                f"cannot compare: the records of {label} do not say where in the text its tokens are; give the command that made it once "
                "more, which adds that and measures nothing again"
            )
        if not record.windows:
            raise BenchError(
                f"cannot compare: the vocabulary of {label} ({run.identity.model.name}) does not give the text back byte for byte, so its bits "
                "per byte are of another text; compare models whose vocabularies do"
            )
        found = {n: windows for n in run.files if (windows := windows_of(run).results(n))}
        self.files = {n: w for n, w in found.items() if all(x.tokens is not None for x in w)}
        if not self.files:
            raise BenchError(
                f"cannot compare: no file of {label} has all its windows, with the values of their tokens; finish it first"
            )
        spans = {s.window: s for s in record.windows}
        first = next(iter(self.files.values()))
        edges = [self._edges(w, spans) for w in first]
        self.begins = np.concatenate([e[:-1] for e in edges])
        self.ends = np.concatenate([e[1:] for e in edges])
        self.windows = np.concatenate([np.full(len(e) - 1, i) for i, e in enumerate(edges)])
        self.kinds = np.concatenate([_kinds(w) for w in first])
        self.looks = max(w.looks for w in first)

    def _edges(self, window: WindowResult, spans: dict[int, Span]) -> NDArray[np.int64]:
        edges = spans[window.window].edges() if window.window in spans else np.empty(0, np.int64)
        if len(edges) != sum(s.tokens for s in window.by_kind.values()) + 1:
            raise BenchError(
                f"cannot compare: what the records of {self.label} say of where its tokens are is not of the tokens of window "
                f"{window.window}; restore the file as it was written"
            )
        return edges

    @property
    def n_bytes(self) -> int:
        """Bytes of the text that were scored."""
        return int((self.ends - self.begins).sum())

    def bits(self, name: str) -> NDArray[np.float64]:
        """-log2 of the probability that a file gives each token, (tokens,)."""
        nll = [unpack(w.tokens.nll, np.float32) for w in self.files[name] if w.tokens is not None]
        found: NDArray[np.float64] = np.concatenate(nll).astype(np.float64) / math.log(2)
        return found

    def floor(self, name: str, n_bytes: int) -> float:
        """Bits per byte that computing the same otherwise changes in a file's mean over so many bytes (floor.py). That of the whole run is less,
        as far as changes of tokens make up for each other."""
        bits_per_token = math.log1p(floors_of(self.run).ppl(name)) / math.log(2)
        return bits_per_token * len(self.begins) / self.n_bytes * math.sqrt(self.n_bytes / n_bytes)


def _kinds(window: WindowResult) -> NDArray[np.str_]:
    assert window.tokens is not None
    found: NDArray[np.str_] = np.array(window.tokens.kind_names)[unpack(window.tokens.kinds, np.uint8)]
    return found


@dataclass(frozen=True)
class CommonText:
    """What two runs both scored. n_bytes: of the text in each unit, (units,); layout: of the units, the stretches of one kind of prompt within one
    window of the run whose windows are longer."""

    a: ScoredText
    b: ScoredText
    n_bytes: NDArray[np.float64]
    layout: Layout
    _units_of_a: NDArray[np.int64]
    _units_of_b: NDArray[np.int64]

    @cached_property
    def bits_a(self) -> dict[str, NDArray[np.float64]]:
        """Bits per byte by file of A, (units,) each."""
        return {name: self._per_byte(self.a.bits(name), self._units_of_a) for name in self.a.files}

    @cached_property
    def bits_b(self) -> dict[str, NDArray[np.float64]]:
        """The same of B."""
        return {name: self._per_byte(self.b.bits(name), self._units_of_b) for name in self.b.files}

    @property
    def total_bytes(self) -> int:
        return int(self.n_bytes.sum())

    def _per_byte(self, bits: NDArray[np.float64], units: NDArray[np.int64]) -> NDArray[np.float64]:
        there = units >= 0
        found: NDArray[np.float64] = np.bincount(units[there], bits[there], len(self.n_bytes)) / self.n_bytes
        return found

    def of_a(self, name: str) -> Estimate:
        """Bits per byte of a file of A over the common text."""
        return self._mean(self.bits_a[name])

    def of_b(self, name: str) -> Estimate:
        """The same of B."""
        return self._mean(self.bits_b[name])

    def _mean(self, values: NDArray[np.float64]) -> Estimate:
        return mean_of(values, self.layout, "logarithm" if values.min() > 0 else "plain")

    def change(self, a: str, b: str) -> Estimate:
        """Bits per byte of a file of B minus those of a file of A, paired by stretch of text."""
        floor = math.hypot(self.a.floor(a, self.total_bytes), self.b.floor(b, self.total_bytes))
        return replace(mean_of(self.bits_b[b] - self.bits_a[a], self.layout), floor=floor)


def common_text(a: Run, b: Run) -> CommonText:
    """What two runs of one text both scored. Raises BenchError for runs that do not tell, or that scored nothing in common."""
    first, second = ScoredText(a, "run A"), ScoredText(b, "run B")
    edges = np.intersect1d(_edges(first), _edges(second))
    lengths = np.diff(edges)
    cells_of_a, cells_of_b = _cells(first, edges), _cells(second, edges)
    # between two edges there may be text that one of them did not score
    whole = (_covered(first, cells_of_a, len(lengths)) == lengths) & (
        _covered(second, cells_of_b, len(lengths)) == lengths
    )
    if not whole.any():
        raise BenchError(
            "cannot compare: there is no stretch of the text that both runs scored; score more windows, or every token of them "
            "(--score all), in both"
        )
    longer, cells = (first, cells_of_a) if _window_bytes(first) >= _window_bytes(second) else (second, cells_of_b)
    last = np.zeros(len(lengths), np.int64)  # token of that run that a cell ends with
    inside = np.flatnonzero(cells >= 0)
    last[cells[inside]] = inside
    names = np.unique(longer.kinds)
    labels = longer.windows[last] * len(names) + np.searchsorted(names, longer.kinds[last])
    known, unit_of_whole = np.unique(labels[whole], return_inverse=True)
    unit = np.full(len(lengths) + 1, -1, np.int64)  # the last for tokens of no cell
    unit[:-1][whole] = unit_of_whole
    n_bytes = np.bincount(unit_of_whole, lengths[whole].astype(np.float64), len(known)).astype(np.float64)
    windows, kinds = np.divmod(known, len(names))
    layout = Layout(n_bytes, windows, kinds, max(first.looks, second.looks))
    return CommonText(first, second, n_bytes, layout, unit[cells_of_a], unit[cells_of_b])


def _edges(scored: ScoredText) -> NDArray[np.int64]:
    return np.union1d(scored.begins, scored.ends)


def _cells(scored: ScoredText, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the cell between two edges that each token is in, -1 for none. A token that spells nothing counts to the text behind it."""
    cells = np.searchsorted(edges, scored.begins, "right") - 1
    cells[cells == len(edges) - 1] = -1
    return cells


def _covered(scored: ScoredText, cells: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Bytes of each of n cells that its tokens spell."""
    there = cells >= 0
    lengths = (scored.ends - scored.begins).astype(np.float64)
    return np.bincount(cells[there], lengths[there], n).astype(np.float64)


def _window_bytes(scored: ScoredText) -> float:
    return scored.n_bytes / len(np.unique(scored.windows))
