"""How often an interval holds at which a run stopped adding windows: `nox -s stress -- until`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from bench.statistics.estimates import Estimate, mean_of
from bench.statistics.layout import MIN_FOR_INTERVAL, Layout
from bench.statistics.sequential import looks
from tests.stress.coverage import POPULATIONS, QUANTITIES, Text

LIMIT = 64
#: Half widths that are waited for, of KL's value.
TARGETS = (0.1, 0.05)


@dataclass(frozen=True)
class Stopped:
    """Runs that add windows until the interval of KL is narrow. held: how often the interval at the end holds the truth; windows: at the end,
    on average; reached: how often the interval was narrow by the limit; often_*: the same for a plain 95 % interval that is looked
    at after every window."""

    population: str
    target: float
    held: float
    windows: float
    reached: float
    often_held: float
    often_windows: float
    tries: int


class _Growing:
    """The values of a text of which more and more windows are known."""

    def __init__(self, text: Text, rng: np.random.Generator) -> None:
        self.scale, draw = QUANTITIES["KL"]
        tokens, self.true = draw(text, rng)
        kind = text.kind if text.population.named else np.zeros_like(text.kind)
        self._keys, part, self._counts = np.unique(text.window * 100 + kind, return_inverse=True, return_counts=True)
        self._values: NDArray[np.float64] = np.bincount(part, tokens) / self._counts

    def first(self, windows: int, n_looks: int) -> Estimate:
        there = self._keys < windows * 100
        keys, counts = self._keys[there], self._counts[there]
        layout = Layout.of_parts(list(keys // 100), [f"{k % 100}" for k in keys], list(counts), n_looks)
        return mean_of(self._values[there], layout, self.scale)

    def stopped(self, steps: Sequence[int], n_looks: int, target: float) -> tuple[int, Estimate, bool]:
        """Windows at the end, the interval there, and whether it is narrow."""
        for n in steps:
            e = self.first(n, n_looks)
            narrow = (
                e.high is not None and e.low is not None and max(e.high - e.value, e.value - e.low) <= target * e.value
            )
            if narrow or n == steps[-1]:
                return n, e, narrow
        raise AssertionError("there is a last step")


def stopped(tries: int, seed: int) -> Iterator[Stopped]:
    steps = looks(LIMIT)
    for population in POPULATIONS:
        for target in TARGETS:
            rng = np.random.default_rng([seed, LIMIT, POPULATIONS.index(population)])
            found, often = [], []
            for _ in range(tries):
                text = _Growing(Text.of(population, LIMIT, rng), rng)
                for ends, (windows, e, narrow) in (
                    (found, text.stopped(steps, len(steps), target)),
                    (often, text.stopped(range(MIN_FOR_INTERVAL, LIMIT + 1), 1, target)),
                ):
                    ends.append((e.excludes(text.true) is False, windows, narrow))
            means, of_often = np.mean(found, axis=0), np.mean(often, axis=0)
            yield Stopped(population.about, target, *map(float, (*means, *of_often[:2])), tries)


def measure(tries: int, seed: int) -> dict[str, object]:
    """The table, ready for JSON."""
    rows = []
    for s in stopped(tries, seed):
        rows.append(asdict(s))
        print(
            f"  {s.population}, ±{100 * s.target:.0f} %: {100 * s.held:.1f} % after {s.windows:.1f} windows", flush=True
        )
    return {"until": rows}
