"""The measurement floor: the change of figures when the same is computed in another way. No difference below it is due to a recipe.

It is measured on the reference and on the file of fewest bits (floor_pass.py), since rounding matters more the more a file has lost. For a
file in between, the floor of the file of fewest bits is scaled by the square root of the ratio of their divergences, and is never less
than the reference's own. (Measured on the default model, root mean square over tokens, without flash attention against with it: NLL
0.003 for F16, 0.08 for Q8_0, 0.13 for Q4_0, 0.55 for IQ2_XXS, 1.4 for IQ1_S, whose divergences are 0, 0.004, 0.15, 3.4 and 7.0.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.measures.windows.agreement import mean_kl
from bench.measures.windows.jobs import WindowResult, unpack
from bench.measures.windows.records import FloorRecord
from bench.measures.windows.runs import windows_of
from bench.records.run import Run
from bench.statistics.estimates import Estimate, exp


@dataclass(frozen=True)
class Floor:
    """One way to compute a window of a file otherwise. nll, kl: what it changes of each token, nats; of the reference itself kl is the divergence,
    None where it was not compared; tokens: that the run scores of a file."""

    recipe: str
    record: FloorRecord
    nll: NDArray[np.float64]
    kl: NDArray[np.float64] | None
    tokens: int

    @property
    def is_none(self) -> bool:
        """Whether all is equal to the last digit."""
        return not self.nll.any() and (self.kl is None or not self.kl.any())

    @property
    def of_ppl(self) -> float:
        """The floor of a relative change of perplexity in the run."""
        return exp(_of_mean(self.nll, self.tokens)) - 1

    @property
    def of_kl(self) -> float:
        """The floor of a change of divergence in the run, nats."""
        return 0.0 if self.kl is None else _of_mean(self.kl, self.tokens)


def _of_mean(changes: NDArray[np.float64], tokens: int) -> float:
    """What such changes of tokens come to in a mean over so many: their own mean where it is shown not to be zero, else their root mean square by
    the square root of the number, since tokens whose changes have no common sign make up for each other."""
    mean = abs(float(changes.mean()))
    se = float(changes.std()) / math.sqrt(len(changes))
    alone = math.sqrt(float((changes**2).mean()) / tokens)
    return max(mean, alone) if mean > 2 * se else alone


class Floors:
    """The floors of a run. Use `floors_of(run)`, which makes it once."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def measured(self) -> list[Floor]:
        """All that were measured, the reference's first."""
        reference, known = self._run.reference, windows_of(self._run)
        found = []
        for (name, _), record in known.floors.items():
            window = known.by_file.get(name, {}).get(record.result.window)
            if window is not None and window.result.tokens is not None and record.result.tokens is not None:
                found.append(_floor(name, record, window.result, self._run.windows, is_reference=name == reference))
        return sorted(found, key=lambda f: f.recipe != reference)

    def kl_of_reference(self) -> float | None:
        """The largest divergence of the reference from itself, nats; None where it was not measured."""
        found = [float(f.kl.mean()) for f in self.measured if f.recipe == self._run.reference and f.kl is not None]
        return max(found, default=None)

    def ppl(self, *names: str) -> float:
        """The floor of a relative change of perplexity from one of these files to another; 0 where nothing is known."""
        return self._largest(names, lambda f: f.of_ppl)

    def kl(self, *names: str) -> float:
        """The same of a change of divergence, in nats."""
        return self._largest(names, lambda f: f.of_kl)

    def _largest(self, names: tuple[str, ...], of: Callable[[Floor], float]) -> float:
        reference = self._run.reference
        own = max((of(f) for f in self.measured if f.recipe == reference), default=0.0)
        others = [f for f in self.measured if f.recipe != reference]
        return max([own, *(of(f) * self._share(name, f.recipe) for name in names for f in others)])

    def _share(self, name: str, measured: str) -> float:
        """What of the floor that was measured on one file counts for another, 1 at most."""
        if name == measured:
            return 1.0
        mine, its = (self._divergence.get(n) for n in (name, measured))
        return 1.0 if mine is None or not its else min(math.sqrt(mine / its), 1.0)

    @cached_property
    def _divergence(self) -> dict[str, float]:
        """Mean divergence of files that have all their windows, nats; the reference has none."""
        found = {self._run.reference or "": 0.0}
        for name in self._run.files:
            kl = mean_kl(windows_of(self._run).results(name) or [])
            if kl is not None:
                found[name] = float(kl.mean())
        return found


def _floor(name: str, record: FloorRecord, window: WindowResult, windows: int, *, is_reference: bool) -> Floor:
    before, after = window.tokens, record.result.tokens
    assert before is not None and after is not None
    nll = unpack(after.nll, np.float32).astype(np.float64) - unpack(before.nll, np.float32)
    kl = None if after.kl is None else unpack(after.kl, np.float32).astype(np.float64)
    if kl is not None and not is_reference:
        kl = None if before.kl is None else kl - unpack(before.kl, np.float32)
    return Floor(name, record, nll, kl, len(nll) * windows)


def floors_of(run: Run) -> Floors:
    """The floors of a run."""
    return run.view(Floors)


def ppl_above_floor(change: Estimate, run: Run, *names: str) -> Estimate:
    """A relative change of perplexity between files, which is none where it is within their floor."""
    return replace(change, floor=floors_of(run).ppl(*names))


def kl_above_floor(change: Estimate, run: Run, *names: str) -> Estimate:
    """The same of a change of divergence."""
    return replace(change, floor=floors_of(run).kl(*names))
