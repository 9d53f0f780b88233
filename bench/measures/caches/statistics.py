"""What a cache costs: distances from the same file with a cache in f16 and from the reference, paired by parts of windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.engine.settings import PLAIN, Cache
from bench.measures.caches.jobs import CacheResult, Distance, Kept, Sums
from bench.measures.caches.runs import caches_in, refusal, results
from bench.records.run import Run
from bench.statistics.estimates import Estimate, Scale, exp, mean_of, mean_over_windows
from bench.statistics.layout import Layout

#: The control: what another kernel for attention does, with a cache in f16.
CONTROL = Cache(flash=False)

#: The distance of tokens that a figure is about.
Pick = Callable[[Sums], Distance | None]


def own(sums: Sums) -> Distance | None:
    return sums.own


def reference(sums: Sums) -> Distance | None:
    return sums.reference


@dataclass(frozen=True)
class Measured:
    """A file with a cache, all windows of which are on record."""

    cache: Cache
    windows: tuple[CacheResult, ...]
    plain: tuple[CacheResult, ...]
    looks: int

    @property
    def kept(self) -> Kept | None:
        return self.windows[0].kept

    @cached_property
    def _layout(self) -> Layout:
        """Parts of windows that are of one kind of prompt."""
        parts = [(i, kind, s.tokens) for i, w in enumerate(self.windows) for kind, s in sorted(w.by_kind.items())]
        return Layout.of_parts([i for i, _, _ in parts], [k for _, k, _ in parts], [n for _, _, n in parts], self.looks)

    def _of_parts(self, windows: Sequence[CacheResult], value: Callable[[Sums], float]) -> NDArray[np.float64]:
        return np.array([value(s) / s.tokens for w in windows for _, s in sorted(w.by_kind.items())])

    def kl(self, pick: Pick) -> Estimate | None:
        """Mean divergence in nats; None where nothing was compared."""
        if not self._has(pick):
            return None
        values = self._of_parts(self.windows, lambda s: _of(pick, s).kl)
        return mean_of(values, self._layout, _scale(values))

    def same_top(self, pick: Pick) -> Estimate | None:
        """Share of tokens where both find the same one most likely."""
        if not self._has(pick):
            return None
        return mean_of(self._of_parts(self.windows, lambda s: _of(pick, s).same_top), self._layout, "odds")

    def kl_change(self) -> Estimate | None:
        """Divergence from the reference minus that with a cache in f16, in nats; None for the reference itself."""
        if not self._has(reference):
            return None
        before, after = (self._of_parts(w, lambda s: _of(reference, s).kl) for w in (self.plain, self.windows))
        return mean_of(after - before, self._layout)

    def ppl_change(self) -> Estimate:
        """Perplexity relative to the same file's with a cache in f16, minus 1."""
        before, after = (self._of_parts(w, lambda s: s.nll) for w in (self.plain, self.windows))
        return mean_of(after - before, self._layout).map(lambda x: exp(x) - 1)

    def ppl(self) -> float:
        tokens = sum(s.tokens for w in self.windows for s in w.by_kind.values())
        return exp(sum(s.nll for w in self.windows for s in w.by_kind.values()) / tokens)

    def kl_by_position(self, pick: Pick) -> list[Estimate]:
        """Mean divergence of each part of windows, in the text's order; empty where nothing was compared."""
        if not self._has(pick):
            return []
        by_window = np.array([[_of(pick, s).kl / s.tokens for s in w.by_position] for w in self.windows])
        return [mean_over_windows(part, _scale(part), self.looks) for part in by_window.T]

    def _has(self, pick: Pick) -> bool:
        return all(pick(s) is not None for w in self.windows for s in w.by_kind.values())


def _scale(values: NDArray[np.float64]) -> Scale:
    """Of divergences, which rounding may leave at zero or below where nothing differs."""
    return "logarithm" if values.min() > 0 else "plain"


def _of(pick: Pick, sums: Sums) -> Distance:
    found = pick(sums)
    assert found is not None
    return found


def measured(run: Run, name: str, cache: Cache) -> Measured | None:
    """A file with a cache; None where windows are missing."""
    plain, windows = results(run, name, PLAIN), results(run, name, cache)
    if plain is None or windows is None:
        return None
    return Measured(cache, tuple(windows), tuple(plain), len(run.identity.looks))


def all_measured(run: Run) -> dict[str, list[Measured]]:
    """Every file with every cache that has all its windows, in the order of the records."""
    found = {n: [m for c in caches if (m := measured(run, n, c)) is not None] for n, caches in caches_in(run).items()}
    return {n: of for n, of in found.items() if of}


def refused(run: Run) -> list[tuple[str, Cache, str]]:
    """(file, cache, why) of what llama.cpp does not compute."""
    return [(n, c, why) for n, caches in caches_in(run).items() for c in caches if (why := refusal(run, n, c))]


def above_floor(change: Estimate, control: Measured | None) -> Estimate:
    """A change of perplexity, which is none where another kernel for attention alone changes it by as much."""
    if control is None:
        return change
    floor = abs(control.ppl_change().value)
    return replace(change, floor=0.0 if math.isnan(floor) else floor)
